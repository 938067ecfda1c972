"""Safe image decoding: whatever comes in, an upright RGB picture or a clear error comes out.

The size of a picture is checked by its header before any pixel is decoded, with limits of our own
rather than Pillow's process-wide one. Addresses on the web are never fetched.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import (  # the plugins register their formats
    AvifImagePlugin,
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    WebPImagePlugin,  # noqa: F401
)

from dinotxt.data.pictures.tiff import TiffLayout, tiff_layout
from dinotxt.errors import DataError, DinotxtError
from dinotxt.files import refuse_address

FORMATS: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
EXTENSIONS = frozenset(
    ".jpg .jpeg .jpe .jfif .mpo .png .apng .webp .bmp .gif .tif .tiff".split()  # noqa: SIM905
)
if AvifImagePlugin.SUPPORTED:
    FORMATS, EXTENSIONS = (*FORMATS, "AVIF"), EXTENSIONS | {".avif"}
_UNREADABLE = {
    "HEIC": ".heic .heif .hif",
    "AVIF": ".avif .avifs",
    "a camera's raw data": ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .iiq .kdc .mos .mrw .nef .nrw"
    " .orf .pef .raf .rw2 .rwl .sr2 .srf .srw .x3f",
    "JPEG 2000": ".jp2 .j2k .jpf .jpx",
    "JPEG XL": ".jxl",
    "a file of Photoshop": ".psd .psb",
}
_KIND_OF = {ending: kind for kind, endings in _UNREADABLE.items() for ending in endings.split()}
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_ORIENTATION_TAG = 0x0112
_MOST_CHANNELS = 4  # that have colours of their own
_ORIENTATION_PLACES = ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp")
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@runtime_checkable
class Stored(Protocol):
    """A picture that is kept somewhere and read when it is needed."""

    @property
    def name(self) -> str:
        """Return what an error message should call it."""

    def read(self, max_bytes: int | None = None) -> bytes | NDArray[np.uint8]:
        """Return the bytes of the file, or pixels ``[H, W, 3]``, or raise DataError."""


class OversizeError(DataError):
    """A picture has more bytes or pixels than its limits allow."""


ImageSource = str | Path | bytes | Image.Image | NDArray[np.generic] | Stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a picture may cost before it is refused.

    Attributes:
        max_bytes: The largest file.
        max_pixels: The most pixels (width times height) that a header may announce.
    """

    max_bytes: int = 1 << 27
    max_pixels: int = 1 << 27


_DEFAULT_LIMITS = Limits()


def open_image(
    source: ImageSource, *, limits: Limits = _DEFAULT_LIMITS, draft_size: int | None = None
) -> Image.Image:
    """Return a picture as an upright RGB image.

    Grey becomes three equal channels, 16 bits are scaled to 8, transparency is laid over white,
    CMYK is converted, and the EXIF orientation is applied. An animation gives its first frame.

    Args:
        source: A path, the bytes of a file, a Pillow image, a uint8 array ``[H, W, 3]`` or
            ``[H, W]``, or a stored picture such as an ``ImageRef``.
        limits: Caps on bytes and pixels.
        draft_size: A JPEG may be decoded smaller, its sides no less than this (small copies).

    Raises:
        DataError: If it is not an image, damaged, too large or of an unknown kind.
    """
    name, found = source_name(source), take(source, limits)
    if isinstance(found, np.ndarray):
        return _from_array(found, name, limits)
    if isinstance(found, Image.Image):
        image = found
        _check_size(image.size, name, limits)
    else:
        image = _open_colours(found, name, limits)
    with decoding(name):
        if draft_size is not None and image.format == "JPEG":
            image.draft(None, (draft_size, draft_size))
        image.load()
        return _to_rgb(upright(image), name)


def open_undecoded(
    source: str | Path | bytes | Stored, *, limits: Limits = _DEFAULT_LIMITS
) -> Image.Image:
    """Return a picture in its own mode, its header checked and no pixel decoded yet.

    Raises:
        DataError: If it cannot be read, is of an unknown format or larger than the limits.
    """
    name, found = source_name(source), take(source, limits)
    if isinstance(found, bytes):
        return _open_colours(found, name, limits)
    return found if isinstance(found, Image.Image) else _from_array(found, name, limits)


def _open_colours(content: bytes, name: str, limits: Limits) -> Image.Image:
    layout = tiff_in(content, name, limits)
    if layout is not None and layout.samples > _MOST_CHANNELS:
        raise DataError(f"{name} has {layout.samples} channels: state a channel mapping.")
    return open_content(content, name, limits)


def open_content(content: bytes, name: str, limits: Limits) -> Image.Image:
    """Return the picture that some bytes hold, its header checked and no pixel decoded yet.

    Raises:
        DataError: As ``open_undecoded``.
    """
    for kind in FORMATS:
        factory, accept = Image.OPEN[kind]
        if accept is not None and accept(content[:16]) is True:
            # Not Image.open: its own check of the size follows a process-wide setting.
            if kind == "AVIF" and not _is_avif(content):
                continue
            with decoding(name):
                image: Image.Image = factory(io.BytesIO(content), "")
            _check_size(image.size, name, limits)
            return image
    if content[4:8] == b"ftyp" and content[8:12] in _HEIC_BRANDS:
        raise DataError(f"{name} {why_unreadable('.heic')}.")
    raise DataError(f"{name} is not a picture in one of the formats {', '.join(FORMATS)}.")


def why_unreadable(ending: str) -> str | None:
    """Return why pictures with an ending such as ``.heic`` are not read; None: nothing is known."""
    kind = None if ending in EXTENSIONS else _KIND_OF.get(ending)
    return kind and f"is {kind}, which is not read here: convert it to JPEG, PNG or TIFF"


def source_name(source: ImageSource) -> str:
    """Return what an error message or a report should call a source."""
    if isinstance(source, str | Path):
        return str(source)
    if isinstance(source, bytes):
        return f"<{len(source)} bytes>"
    if isinstance(source, np.ndarray):
        return f"<array {source.dtype} {list(source.shape)}>"
    if isinstance(source, Image.Image):
        return str(getattr(source, "filename", "") or f"<{source.mode} image>")
    return source.name if isinstance(source, Stored) else f"<{type(source).__name__}>"


def take(
    source: ImageSource, limits: Limits = _DEFAULT_LIMITS
) -> bytes | Image.Image | NDArray[np.generic]:
    """Return what a source holds: the bytes of a file, or a picture or an array as it is.

    Raises:
        DataError: If the file is missing, empty, larger than the limit, or an address on the web,
            or the source is of no known type.
    """
    name = source_name(source)
    if isinstance(source, np.ndarray | Image.Image):
        return source
    if isinstance(source, bytes):
        content: bytes | NDArray[np.uint8] = source
    elif isinstance(source, str | Path):
        content = _read_path(source, limits)
    elif isinstance(source, Stored):
        content = source.read(limits.max_bytes)
    else:
        kinds = "a path, bytes, a Pillow image or a uint8 array [H, W, 3]"
        raise DataError(f"{name} is not a picture: give {kinds}.")
    if isinstance(content, bytes):
        if not content:
            raise DataError(f"{name} is empty.")
        _check_bytes(len(content), name, limits)
    return content


def _read_path(source: str | Path, limits: Limits) -> bytes:
    name = str(source)
    refuse_address(name)
    try:
        path = Path(source)
        if not path.is_file():
            kind = "is not a file" if path.exists() else "does not exist"
            raise DataError(f"{name} {kind}.")
        _check_bytes(path.stat().st_size, name, limits)
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise DataError(f"{name} cannot be read ({error}).") from error


def _check_bytes(size: int, name: str, limits: Limits) -> None:
    if size > limits.max_bytes:
        raise OversizeError(
            f"{name} has {size} bytes, more than {limits.max_bytes}: raise Limits.max_bytes."
        )


def tiff_in(content: bytes, name: str, limits: Limits) -> TiffLayout | None:
    """Return how a TIFF is laid out, its size checked; None: the bytes are no TIFF.

    A warning tells that there are further images, which are not read.

    Raises:
        DataError: If it is damaged or larger than the limits.
    """
    with decoding(name):
        layout = tiff_layout(content)
    if layout is not None:
        _check_size((layout.width, layout.height), name, limits)
        if layout.more:
            warnings.warn(f"{name} holds several images: the first is read.", stacklevel=2)
    return layout


def _is_avif(content: bytes) -> bool:
    """Tell AVIF from HEIC, which share a container: the brands stand in its first box."""
    length = int.from_bytes(content[:4], "big")
    return b"avif" in content[8:length] or b"avis" in content[8:length]


@contextmanager
def decoding(name: str) -> Iterator[None]:
    """Turn whatever a decoder raises into a DataError."""
    try:
        yield
    except DinotxtError:
        raise
    except Exception as error:  # OSError, SyntaxError, struct.error, IndexError and others
        raise DataError(f"{name} is damaged or truncated ({error}).") from error


def _check_size(size: tuple[int, int], name: str, limits: Limits) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise DataError(f"{name} has no pixels ({width}x{height}).")
    if width * height > limits.max_pixels:
        raise OversizeError(
            f"{name} announces {width}x{height} pixels, more than {limits.max_pixels}: "
            "raise Limits.max_pixels if it is no decompression bomb."
        )


def upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation, and forget it; damaged EXIF counts as none."""
    try:
        method = _UPRIGHT.get(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # a damaged EXIF block raises anything
        return image
    if method is None:
        return image
    turned = image.transpose(method)
    for place in _ORIENTATION_PLACES:  # or whoever opens the result would turn it again
        turned.info.pop(place, None)
    return turned


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        return _from_integers(image, name)
    if image.mode == "F":
        raise DataError(f"{name} holds floats, whose range is unknown: state a channel mapping.")
    if image.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in image.info:
        picture = image.convert("RGBA")
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        white.alpha_composite(picture)
        return white.convert("RGB")
    return image.convert("RGB")


def _from_integers(image: Image.Image, name: str) -> Image.Image:
    """Scale 16-bit grey to 8 bits."""
    values = np.asarray(image)
    if values.dtype != np.uint16 and (values.min() < 0 or values.max() > 65535):
        raise DataError(f"{name} is not 8-bit or 16-bit grey: state a channel mapping.")
    grey = (values.astype(np.uint32) * 255 + 32767) // 65535
    return Image.fromarray(grey.astype(np.uint8)).convert("RGB")


def _from_array(array: NDArray[np.generic], name: str, limits: Limits) -> Image.Image:
    is_picture = array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)
    if array.dtype != np.uint8 or not is_picture:
        raise DataError(f"{name} is not a picture: give uint8 [H, W, 3] or [H, W].")
    _check_size((array.shape[1], array.shape[0]), name, limits)
    return Image.fromarray(np.ascontiguousarray(array)).convert("RGB")
