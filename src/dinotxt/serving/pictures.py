"""Pictures in and out: what clients send, names for what an index holds, PNG and run lengths."""

import hashlib
import hmac
import io
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dinotxt.data.pictures import Limits, OversizeError, Picture, Transform
from dinotxt.errors import DataError
from dinotxt.results.palette import UNLABELLED_COLOUR, palette
from dinotxt.results.segmentation import Segmentation
from dinotxt.serving.config import RequestLimits
from dinotxt.serving.errors import ApiError

_SIGNATURE_BYTES = 16


class Decoder:
    """Turns the bytes of a client into pictures; whatever is wrong with them is its own error.

    Args:
        transform: Of the model.
        limits: The most bytes and pixels.
    """

    def __init__(self, transform: Transform, limits: RequestLimits) -> None:
        self._transform = transform
        self._limits = Limits(max_bytes=limits.max_bytes, max_pixels=limits.max_pixels)

    def pixels(self, content: bytes) -> NDArray[np.float32]:
        """Return the model's input ``[C, H, W]``.

        Raises:
            ApiError: 413 if the picture has too many pixels, 422 if it cannot be used.
        """
        return self._transform(self.picture(content))

    def picture(self, content: bytes) -> Picture:
        """Return the upright picture at its own size.

        Raises:
            ApiError: As ``pixels``.
        """
        try:
            return self._transform.open(content, limits=self._limits)
        except OversizeError:
            limit = self._limits.max_pixels / 1e6
            raise ApiError(413, f"The picture has more than {limit:g} megapixels.") from None
        except DataError as error:
            reason = str(error).replace(f"<{len(content)} bytes>", "it")
            raise ApiError(422, f"The picture cannot be used: {reason}") from None


class PictureLinks:
    """Names for files that only this server can make, and only for what a search found.

    A name holds a signature of the path and the path itself, enciphered under that signature
    (a synthetic initialisation vector). The keys live as long as the process, so no request can
    name another file, and no name tells where the pictures lie.
    """

    def __init__(self) -> None:
        self._key, self._cipher_key = secrets.token_bytes(32), secrets.token_bytes(32)

    def sign(self, path: str) -> str:
        """Return the name of a file."""
        content = path.encode("utf-8", "surrogateescape")
        signature = self._signature(content)
        name = signature + self._cipher(signature, content)
        return urlsafe_b64encode(name).decode().rstrip("=")

    def path(self, name: str) -> Path:
        """Return the file that a name stands for.

        Raises:
            ApiError: 404 if this server did not make the name.
        """
        try:
            content = urlsafe_b64decode(name.encode("ascii") + b"=" * (-len(name) % 4))
        except ValueError:
            content = b""
        signature = content[:_SIGNATURE_BYTES]
        path = self._cipher(signature, content[_SIGNATURE_BYTES:])
        if not hmac.compare_digest(signature, self._signature(path)):
            raise ApiError(404, "There is no such picture: search again.")
        return Path(path.decode("utf-8", "surrogateescape"))

    def _cipher(self, signature: bytes, content: bytes) -> bytes:
        """Encipher or decipher, which is the same."""
        stream = hashlib.shake_256(self._cipher_key + signature).digest(len(content))
        return bytes(a ^ b for a, b in zip(content, stream, strict=True))

    def _signature(self, content: bytes) -> bytes:
        return hmac.digest(self._key, content, hashlib.sha256)[:_SIGNATURE_BYTES]


def to_png(picture: Image.Image) -> bytes:
    """Return a picture as PNG."""
    stream = io.BytesIO()
    picture.save(stream, format="PNG", compress_level=3)
    return stream.getvalue()


def label_map_png(segmentation: Segmentation) -> bytes:
    """Return the map as PNG: 8 bits with a palette, or 16-bit grey from 256 labels.

    A pixel holds the position of its label, the largest value (255 or 65535) if it has none.
    """
    picture = Image.fromarray(segmentation.label_map)
    if segmentation.label_map.dtype == np.uint8:
        table = np.zeros((256, 3), dtype=np.uint8)
        table[: len(segmentation.labels)] = palette(len(segmentation.labels))
        table[segmentation.unlabelled] = UNLABELLED_COLOUR
        picture.putpalette(table.ravel().tolist())
    return to_png(picture)


def run_lengths(segmentation: Segmentation) -> Iterator[list[int]]:
    """Yield the mask of each label as COCO's uncompressed counts.

    Pixels are taken column by column; counts alternate between outside and inside, outside first.
    """
    columns = segmentation.label_map.ravel(order="F")
    starts = np.flatnonzero(np.concatenate([[True], columns[1:] != columns[:-1]]))
    stops = np.append(starts[1:], columns.size)
    values = columns[starts]
    for position in range(len(segmentation.labels)):
        mine = values == position
        yield _counts(starts[mine], stops[mine], columns.size)


def hex_colours(num_labels: int) -> list[str]:
    """Return the colour of each label as ``#rrggbb``."""
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in palette(num_labels).tolist()]


def _counts(starts: NDArray[np.int64], stops: NDArray[np.int64], total: int) -> list[int]:
    edges = np.empty(2 * len(starts) + 2, dtype=np.int64)
    edges[0], edges[-1] = 0, total
    edges[1:-1:2], edges[2:-1:2] = starts, stops
    counts: list[int] = np.diff(edges).tolist()
    return counts[:-1] if counts[-1] == 0 and len(starts) else counts
