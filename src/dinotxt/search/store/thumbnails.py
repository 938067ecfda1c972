"""Small copies of an index's pictures, each in a file that is named by the picture's content."""

import os
import shutil
import threading
from collections.abc import Callable, Collection
from pathlib import Path

from dinotxt.data.pictures import ImageSource, Picture, open_image, small_jpeg
from dinotxt.errors import DataError

_FOLDER = "thumbnails"


def small_copy(source: ImageSource, side: int) -> bytes:
    """Return a JPEG of a picture whose long side is at most ``side``, without its metadata.

    Raises:
        DataError: If the picture cannot be read.
    """
    return small_jpeg(open_image(source, draft_size=side), side)


class Thumbnails:
    """The folder of an index's small copies.

    Two pictures with the same content share one. A file is renamed into place when it is whole;
    one that is missing or damaged costs no more than a look at the picture itself.

    Args:
        folder: Of the index.
        side: Of the long side, in pixels.
    """

    def __init__(self, folder: Path, side: int) -> None:
        self.side = side
        self._folder = folder / _FOLDER

    def path(self, digest: str) -> Path:
        """Return where the small copy of a picture is, by the SHA-256 of its content."""
        return self._folder / digest[:2] / f"{digest[2:]}-{self.side}.jpg"

    def put(self, digest: str, open_picture: Callable[[], Picture]) -> None:
        """Make a small copy if there is none yet; a picture that cannot be read gets none."""
        target = self.path(digest)
        if target.exists():
            return
        try:
            content = small_jpeg(open_picture(), self.side)
        except DataError:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{os.getpid()}-{threading.get_ident()}.tmp")
        temporary.write_bytes(content)  # not synced: a million times, that would take hours
        temporary.replace(target)

    def get(self, digest: str) -> bytes | None:
        """Return a small copy, or None if there is none."""
        try:
            return self.path(digest).read_bytes() or None
        except OSError:
            return None

    def sweep(self, digests: Collection[str]) -> None:
        """Delete everything else than the small copies of these pictures."""
        for path in self._folder.glob("??/*"):
            digest, _, ending = f"{path.parent.name}{path.name}".partition("-")
            if digest not in digests or ending != f"{self.side}.jpg":
                path.unlink(missing_ok=True)


def remove_thumbnails(folder: Path) -> None:
    """Delete all small copies of an index."""
    if (folder / _FOLDER).exists():
        shutil.rmtree(folder / _FOLDER)
