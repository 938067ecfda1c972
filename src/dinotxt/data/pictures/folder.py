"""Find the pictures of a folder, however deep, in an order that does not change."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from dinotxt.data.pictures.image import EXTENSIONS
from dinotxt.errors import DataError
from dinotxt.results.skip import Skip

_NUMBER = re.compile(r"(\d+)")


class Entry(NamedTuple):
    """A picture file as the folder lists it.

    Attributes:
        path: Relative to the scanned folder, with ``/`` between the parts.
        size: In bytes.
        mtime_ns: Time of the last modification, in nanoseconds.
    """

    path: str
    size: int
    mtime_ns: int


def scan(folder: str | Path, *, on_skip: Callable[[Skip], None] | None = None) -> Iterator[Entry]:
    """Yield every picture under ``folder``, sorted by ``sort_key``.

    Files are known by their extension; names that start with a dot are left out. Links are
    followed, but no folder is entered twice, so a loop of links does no harm. Only one folder's
    listing at a time for each level is held in memory.

    Args:
        folder: Where to start.
        on_skip: Told of every folder that cannot be listed (its path then ends with ``/``) and
            of every broken link; None raises instead.

    Raises:
        DataError: If ``folder`` is not a folder, or something is unreadable and ``on_skip`` is
            None.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"{folder} is not a folder: give one that holds pictures.")
    yield from _walk(str(root), on_skip or _refuse)


def sort_key(path: str) -> list[str]:
    """Return what paths are sorted by: their parts, so that a folder's files stay together."""
    return path.split("/")


def printable(path: str | Path) -> str:
    """Return a path as valid text; bytes of a name that are not UTF-8 become escapes."""
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _walk(root: str, on_skip: Callable[[Skip], None]) -> Iterator[Entry]:
    visited: set[tuple[int, int]] = set()
    levels = [iter(_children(root, "", visited, on_skip))]
    while levels:
        child = next(levels[-1], None)
        if child is None:
            levels.pop()
            continue
        path, entry = child
        try:
            if entry.is_dir():
                levels.append(iter(_children(entry.path, path, visited, on_skip)))
            elif _is_picture(entry.name):
                stat = entry.stat()
                if entry.is_file():
                    yield Entry(path, stat.st_size, stat.st_mtime_ns)
        except OSError as error:
            on_skip(Skip(path, _reason(error)))


def _children(
    folder: str, path: str, visited: set[tuple[int, int]], on_skip: Callable[[Skip], None]
) -> list[tuple[str, "os.DirEntry[str]"]]:
    """List a folder once; a second way to it gives nothing."""
    try:
        stat = Path(folder).stat()
        identity = (stat.st_dev, stat.st_ino)
        if identity in visited:
            return []
        with os.scandir(folder) as listing:
            children = [child for child in listing if not child.name.startswith(".")]
    except OSError as error:
        on_skip(Skip(f"{path}/", _reason(error)))
        return []
    visited.add(identity)
    prefix = f"{path}/" if path else ""
    return [(prefix + c.name, c) for c in sorted(children, key=lambda child: child.name)]


def _is_picture(name: str) -> bool:
    _, dot, ending = name.rpartition(".")  # faster than Path.suffix, a million times
    return dot + ending.lower() in EXTENSIONS


def _reason(error: OSError) -> str:
    return f"cannot be read ({error.strerror or error})"


def _refuse(skip: Skip) -> None:
    raise DataError(f"{skip.path} {skip.reason}.")


def play_order(paths: Iterable[str]) -> list[str]:
    """Return paths folder by folder, numbers in names by their value: ``2.png`` before ``10.png``.

    A name that differs only by leading zeros comes after the shorter one.
    """
    return sorted(paths, key=_key)


def mirrored_name(path: str, root: str | Path) -> str:
    """Return what the result of a frame below ``root`` is called: its path without suffix."""
    return Path(path).relative_to(root).with_suffix("").as_posix()


def _key(path: str) -> tuple[tuple[tuple[int, int | str], ...], ...]:
    return tuple(_natural(part) for part in Path(path).parts)


def _natural(part: str) -> tuple[tuple[int, int | str], ...]:
    pieces = (piece for piece in _NUMBER.split(part) if piece)
    return tuple((0, int(piece)) if piece.isdecimal() else (1, piece) for piece in pieces)
