"""The records of dinotxt: a picture that is read when needed, with captions or a label."""

import os
from dataclasses import dataclass

from PIL import Image

from dinotxt.data.pictures import ImageSource, open_image
from dinotxt.errors import DataError
from dinotxt.files import refuse_address


@dataclass(frozen=True, slots=True)
class ImageRef:
    """Where a picture lies: a file of its own, or a range of bytes in an uncompressed tar.

    It holds no open file, so it may be sent to other processes.

    Attributes:
        path: The file, or the tar.
        offset: Where the picture starts in the tar; None for a file of its own.
        size: Its bytes in the tar.
        member: Its name in the tar.
    """

    path: str
    offset: int | None = None
    size: int = 0
    member: str = ""

    @property
    def name(self) -> str:
        """Return the path, followed by the member of a tar."""
        return f"{self.path}::{self.member}" if self.offset is not None else self.path

    def read(self, max_bytes: int | None = None) -> bytes:
        """Return the bytes of the picture file.

        Raises:
            DataError: If it is missing, cut short or larger than ``max_bytes``.
        """
        refuse_address(self.path)
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
            try:
                return self._read(descriptor, max_bytes)
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            raise DataError(f"{self.path} does not exist.") from None
        except (OSError, ValueError) as error:
            raise DataError(f"{self.name} cannot be read ({error}).") from error

    def open(self, *, draft_size: int | None = None) -> Image.Image:
        """Return the picture, upright RGB; see ``open_image``."""
        return open_image(self, draft_size=draft_size)

    def _read(self, descriptor: int, max_bytes: int | None) -> bytes:
        size = self.size if self.offset is not None else os.fstat(descriptor).st_size
        if max_bytes is not None and size > max_bytes:
            raise DataError(f"{self.name} has {size} bytes, more than {max_bytes}.")
        content = os.pread(descriptor, size, self.offset or 0)
        if len(content) != size:
            raise DataError(f"{self.name} is cut short: {len(content)} of {size} bytes.")
        return content


@dataclass(frozen=True, slots=True)
class Pair:
    """A picture and what is said about it.

    Attributes:
        key: A name that no other pair of the same data has.
        image: Where the picture lies.
        captions: At least one caption, unless they were asked for as optional.
    """

    key: str
    image: ImageRef
    captions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """A picture and its class.

    Attributes:
        key: A name that no other picture of the same data has.
        image: Where the picture lies.
        label: The number of its class, from 0.
    """

    key: str
    image: ImageSource
    label: int
