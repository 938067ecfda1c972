"""What IMAGE... means on the command line: files, folders and patterns."""

import glob
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from dinotxt.data.pictures import EXTENSIONS, mirrored_name, play_order, scan
from dinotxt.results.skip import Skip

OnSkip = Callable[[Skip], None]


def expand_pictures(given: Sequence[str], on_skip: OnSkip) -> list[str]:
    """Return the picture files that arguments stand for, each once, in a fixed order.

    A folder gives the pictures in it, however deep, in the order of their numbers (the frames of
    a video as they are played); a pattern (``*``, ``?``, ``[a-z]``, ``**``)
    the pictures among its matches; any other argument is a file, whatever its extension.

    Args:
        given: The arguments.
        on_skip: Told of every argument that gives nothing.
    """
    found: dict[str, None] = {}
    for argument in given:
        paths = list(_expand(argument, on_skip))
        if not paths:
            on_skip(Skip(argument, _why_nothing(argument)))
        found.update(dict.fromkeys(paths))
    return list(found)


def _expand(argument: str, on_skip: OnSkip) -> Iterator[str]:
    path = Path(argument)
    if path.is_dir():

        def skip_below(skip: Skip) -> None:
            on_skip(Skip(str(path / skip.path.lstrip("/")), skip.reason))

        yield from play_order(str(path / entry.path) for entry in scan(path, on_skip=skip_below))
    elif path.exists() or not glob.has_magic(argument):
        if path.exists():
            yield argument
    else:
        for match in play_order(glob.glob(argument, recursive=True)):  # noqa: PTH207 - keeps "./"
            if Path(match).suffix.lower() in EXTENSIONS and Path(match).is_file():
                yield match


def output_names(given: Sequence[str], paths: Sequence[str]) -> list[str]:
    """Return what the results of pictures are called, each once.

    A picture from a folder argument keeps its path below that folder, without the suffix; any
    other has the stem of its file. From the second of a name on there is a number.
    """
    folders = [argument for argument in given if Path(argument).is_dir()]
    names: list[str] = []
    taken: set[str] = set()
    for path in paths:
        root = next((folder for folder in folders if Path(path).is_relative_to(folder)), None)
        stem = name = Path(path).stem if root is None else mirrored_name(path, root)
        number = 2
        while name.casefold() in taken:
            name, number = f"{stem}-{number}", number + 1
        taken.add(name.casefold())
        names.append(name)
    return names


def _why_nothing(argument: str) -> str:
    if Path(argument).is_dir():
        return "the folder holds no pictures"
    return "no picture matches" if glob.has_magic(argument) else "does not exist"
