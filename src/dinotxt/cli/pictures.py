"""What IMAGE... means on the command line: files, folders and patterns."""

import glob
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from dinotxt.data.image import EXTENSIONS
from dinotxt.results.skip import Skip
from dinotxt.search.scan import scan

OnSkip = Callable[[Skip], None]


def expand_pictures(given: Sequence[str], on_skip: OnSkip) -> list[str]:
    """Return the picture files that arguments stand for, each once, in a fixed order.

    A folder gives the pictures in it, however deep; a pattern (``*``, ``?``, ``[a-z]``, ``**``)
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
        yield from (str(path / entry.path) for entry in scan(path, on_skip=on_skip))
    elif path.exists() or not glob.has_magic(argument):
        if path.exists():
            yield argument
    else:
        for match in sorted(glob.glob(argument, recursive=True)):  # noqa: PTH207 - keeps "./"
            if Path(match).suffix.lower() in EXTENSIONS and Path(match).is_file():
                yield match


def _why_nothing(argument: str) -> str:
    if Path(argument).is_dir():
        return "the folder holds no pictures"
    return "no picture matches" if glob.has_magic(argument) else "does not exist"
