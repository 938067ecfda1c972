"""The pictures of a folder, however deep, in an order that does not change: one reading for all.

Left out without a word: hidden files and folders, and those that systems make beside pictures. Told
of: what cannot be listed or read here, and what dinotxt itself wrote.
"""

import os
import re
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from dinotxt.data.pictures.image import EXTENSIONS, why_unreadable
from dinotxt.errors import DataError
from dinotxt.files import MARK, Mark, read_mark
from dinotxt.results.skip import OnSkip, Skip, or_raise

_NUMBER = re.compile(r"(\d+)")
_OF_SYSTEMS = frozenset({"__MACOSX", "@eaDir", "@__thumb", "#recycle", "$RECYCLE.BIN"})
_Identity = tuple[int, int]


class Entry(NamedTuple):
    """A file as the folder lists it.

    Attributes:
        path: Relative to the scanned folder, with ``/`` between the parts.
        size: In bytes.
        mtime_ns: Time of the last modification, in nanoseconds.
    """

    path: str
    size: int
    mtime_ns: int


def scan(
    folder: str | Path,
    *,
    endings: Collection[str] = EXTENSIONS,
    results: bool = False,
    on_skip: OnSkip | None = None,
) -> Iterator[Entry]:
    """Yield every picture under ``folder``, sorted by ``sort_key``.

    Files are known by their ending. Links are followed, but no folder is entered twice, so a loop
    of links does no harm; a folder that lies below ``folder`` is found under its own name, whatever
    link to it comes first. Only one folder's listing for each level is held in memory.

    Args:
        folder: Where to start.
        endings: Of the files that are wanted, in small letters, each with its dot.
        results: Whether pictures that dinotxt wrote count.
        on_skip: Told of every folder that cannot be listed (its path then ends with ``/``), of
            every broken link, of every file that is none and of every picture of a kind that
            cannot be read; paths are relative to ``folder``. None raises instead.

    Raises:
        DataError: If ``folder`` is not a folder, or there is something to tell and ``on_skip`` is
            None.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"{folder} is not a folder: give one that holds pictures.")
    yield from _Scan(str(root), endings, results, or_raise(on_skip)).run()


def pictures_in(
    folder: str | Path,
    on_skip: OnSkip | None,
    *,
    endings: Collection[str] = EXTENSIONS,
    results: bool = False,
) -> Iterator[Path]:
    """Yield the paths of what ``scan`` finds; ``folder`` begins them, also in what is told."""
    root, report = Path(folder), or_raise(on_skip)

    def below(skip: Skip) -> None:
        report(Skip(printable(root / skip.path.lstrip("/")), skip.reason))

    for entry in scan(root, endings=endings, results=results, on_skip=below):
        yield root / entry.path


def without_results(paths: Sequence[str]) -> list[str]:
    """Leave out what dinotxt wrote beside the pictures of a list, as a shell's pattern matches it.

    Where a folder gives nothing else, its results are what is wanted.
    """
    by_folder: dict[Path, list[str]] = {}
    for path in paths:
        by_folder.setdefault(Path(path).parent, []).append(path)
    ours: set[str] = set()
    for folder, members in by_folder.items():
        mark = read_mark(folder)
        found = {path for path in members if mark and Path(path).name in mark.names}
        if mark and 0 < len(found) < len(members):
            _say(f"{printable(folder)} holds what dinotxt {mark.kind} wrote: that is")
            ours |= found
    return [path for path in paths if path not in ours]


def folders_in(folder: Path) -> list[Path]:
    """Return the folders that lie in a folder, by name, less those that systems make or hide."""
    return sorted(path for path in folder.iterdir() if not is_left_out(path.name) and path.is_dir())


def is_left_out(name: str) -> bool:
    """Tell if a file or folder of this name is hidden, or made by a system beside pictures."""
    return name.startswith(".") or name in _OF_SYSTEMS


def is_ours(mark: Mark | None) -> bool:
    """Tell if a mark says that dinotxt wrote all of its folder; a warning says so, too."""
    if mark is None or mark.names:
        return False
    _say(f"{printable(mark.folder)} is what dinotxt {mark.kind} wrote: it is")
    return True


def sort_key(path: str) -> list[str]:
    """Return what paths are sorted by: their parts, so that a folder's files stay together."""
    return path.split("/")


def printable(path: str | Path) -> str:
    """Return a path as valid text; bytes of a name that are not UTF-8 become escapes."""
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def play_order(paths: Iterable[str]) -> list[str]:
    """Return paths folder by folder, numbers in names by their value: ``2.png`` before ``10.png``.

    A name that differs only by leading zeros comes after the shorter one.
    """
    return sorted(paths, key=lambda path: tuple(_natural(part) for part in Path(path).parts))


def mirrored_name(path: str, root: str | Path) -> str:
    """Return what the result of a frame below ``root`` is called: its path without suffix."""
    return Path(path).relative_to(root).with_suffix("").as_posix()


def _say(what: str) -> None:
    warnings.warn(f"{what} left out.", stacklevel=2)


class _Scan:
    """One walk over a tree."""

    def __init__(self, root: str, endings: Collection[str], results: bool, report: OnSkip) -> None:
        self._root = root
        self._endings = endings
        self._results = results
        self._report = report
        self._visited: set[_Identity] = set()
        self._claimed: set[_Identity] | None = None  # the folders that lie in the tree itself

    def run(self) -> Iterator[Entry]:
        levels = [iter(self._children(self._root, ""))]
        while levels:
            child = next(levels[-1], None)
            if child is None:
                levels.pop()
                continue
            path, entry = child
            try:
                if entry.is_dir():
                    if not entry.is_symlink() or self._is_new(entry.path):
                        levels.append(iter(self._children(entry.path, path)))
                else:
                    yield from self._file(path, entry)
            except OSError as error:
                self._report(Skip(path, _reason(error)))

    def _file(self, path: str, entry: "os.DirEntry[str]") -> Iterator[Entry]:
        ending = _ending(entry.name)
        if ending not in self._endings:
            if entry.is_symlink() and not Path(entry.path).exists():
                self._report(Skip(f"{path}/", "is a link to nothing"))  # perhaps to a folder
            elif reason := why_unreadable(ending):
                self._report(Skip(path, reason))
        else:
            stat = entry.stat()
            if entry.is_file():
                yield Entry(path, stat.st_size, stat.st_mtime_ns)
            else:
                self._report(Skip(path, "is not a file"))

    def _is_new(self, link: str) -> bool:
        """Tell if a link leads to a folder that is found nowhere else, and claim its tree."""
        if self._claimed is None:
            self._claimed = set(_tree(self._root))
        found = _identity(link)
        if found in self._claimed or found in self._visited:
            return False
        self._claimed.update(_tree(link))
        return True

    def _children(self, folder: str, path: str) -> list[tuple[str, "os.DirEntry[str]"]]:
        """List a folder once; a second way to it gives nothing."""
        try:
            identity = _identity(folder)
            if identity in self._visited:
                return []
            with os.scandir(folder) as listing:
                children = sorted(listing, key=lambda child: child.name)
        except OSError as error:
            self._report(Skip(f"{path}/", _reason(error)))
            return []
        self._visited.add(identity)
        mark = None
        if not self._results and any(child.name == MARK for child in children):
            mark = read_mark(Path(folder))
        if path and is_ours(mark):
            return []
        prefix = f"{path}/" if path else ""
        if mark and any(child.name in mark.names for child in children):
            _say(f"{printable(folder)} holds what dinotxt {mark.kind} wrote: that is")
            children = [child for child in children if child.name not in mark.names]
        return [(prefix + child.name, child) for child in children if not is_left_out(child.name)]


def _tree(folder: str) -> Iterator[_Identity]:
    """Yield the identity of a folder and of all that lie below it, without following links."""
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        try:
            yield _identity(here)
            with os.scandir(here) as listing:
                waiting += [
                    child.path
                    for child in listing
                    if not is_left_out(child.name) and child.is_dir(follow_symlinks=False)
                ]
        except OSError:
            continue  # told of where the walk comes to it


def _identity(folder: str) -> _Identity:
    stat = os.stat(folder)  # noqa: PTH116 (a Path for each folder would cost more than the call)
    return stat.st_dev, stat.st_ino


def _ending(name: str) -> str:
    _, dot, ending = name.rpartition(".")  # faster than Path.suffix, a million times
    return dot + ending.lower()


def _reason(error: OSError) -> str:
    return f"cannot be read ({error.strerror or error})"


def _natural(part: str) -> tuple[tuple[int, int | str], ...]:
    pieces = (piece for piece in _NUMBER.split(part) if piece)
    return tuple((0, int(piece)) if piece.isdecimal() else (1, piece) for piece in pieces)
