"""Pictures that are no file of their own: cut out of another one, or an array from a data file."""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dinotxt.data.pictures.image import Limits, Stored, open_image
from dinotxt.errors import DataError


@dataclass(frozen=True, slots=True)
class TrimmedImage:
    """A stored picture without its border; it is decoded when it is read.

    Attributes:
        image: The whole picture.
        border: How many pixels go on each side.
    """

    image: Stored
    border: int

    @property
    def name(self) -> str:
        """Return the name of the whole picture."""
        return self.image.name

    def read(self, max_bytes: int | None = None) -> bytes:
        """Return the inner part as the bytes of a BMP file.

        Raises:
            DataError: If the picture cannot be used or is nothing but border.
        """
        limits = Limits() if max_bytes is None else Limits(max_bytes=max_bytes)
        whole = open_image(self.image, limits=limits)
        width, height = whole.size
        if min(width, height) <= 2 * self.border:
            raise DataError(
                f"{self.name} is {width}x{height}, all of it within the border of {self.border}."
            )
        inner = (self.border, self.border, width - self.border, height - self.border)
        return _to_bmp(whole.crop(inner))


@dataclass(frozen=True, slots=True, eq=False)
class ArrayImage:
    """A picture that a data file holds as an array.

    Attributes:
        name: What a report should call it.
        pixels: uint8 ``[H, W, 3]``.
    """

    name: str
    pixels: NDArray[np.uint8]

    def read(self, max_bytes: int | None = None) -> bytes:
        """Return it as the bytes of a BMP file, whatever their number."""
        del max_bytes
        return _to_bmp(Image.fromarray(self.pixels))


def _to_bmp(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format="BMP")
    return stream.getvalue()
