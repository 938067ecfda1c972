"""One writer at a time: a lock that the operating system drops when its holder dies."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dinotxt.errors import DataError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of an index folder during the block.

    Raises:
        DataError: If another process holds it.
    """
    with (folder / ".lock").open("a") as stream:
        if sys.platform != "win32":
            import fcntl

            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = f"Another process is writing to {folder}: wait until it is done."
                raise DataError(message) from None
        yield
