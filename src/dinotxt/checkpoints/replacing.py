"""Writing a folder that may hold an earlier one of the same kind, and nothing else."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from dinotxt.errors import DataError
from dinotxt.files import sync

_PREFIX, _SUFFIX = ".new.", ".tmp"


@contextmanager
def replacing(
    folder: Path, kind: str, is_ours: Callable[[Path], bool], *, last: str = "config.json"
) -> Iterator[Path]:
    """Give an empty folder whose files take their places in ``folder`` when the block succeeds.

    Until then what was there stays as it is, and it stays so if the block fails. Files of other
    names are left alone.

    Args:
        folder: May be missing or empty, or hold what ``is_ours`` knows.
        kind: What is written, for the error.
        is_ours: Tells if a folder holds something of the same kind.
        last: The file that makes a folder whole takes its place after all others.

    Raises:
        DataError: If the folder holds anything else.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file: give a folder.")
    others = [path for path in folder.iterdir() if not _is_left(path)] if folder.exists() else []
    if others and not is_ours(folder):
        name = min(path.name for path in others)
        message = (
            f"{folder} holds something else than {kind} ({name}), which would be lost: give an"
        )
        raise DataError(f"{message} empty or a new folder.")
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    staging = Path(mkdtemp(dir=folder, prefix=_PREFIX, suffix=_SUFFIX))
    try:
        yield staging
        _move(staging, folder, last)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        if is_new and not any(folder.iterdir()):
            folder.rmdir()
        raise
    shutil.rmtree(staging)


def _move(staging: Path, folder: Path, last: str) -> None:
    files = [path for path in staging.rglob("*") if path.is_file()]
    for path in sorted(files, key=lambda path: (path.name == last, path)):
        target = folder / path.relative_to(staging)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
        sync(target.parent)


def _is_left(path: Path) -> bool:
    """Tell if a path is what a killed run left."""
    return path.name.startswith(".") and path.name.endswith(_SUFFIX)
