"""Captions as Flickr8k and Flickr30k distribute them: ``Flickr8k.token.txt``, ``*.token``.

A line is ``1000268201_693b08cb0e.jpg#0``, a tab and a caption.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from dinotxt.data.readers import Captioned, ImageRef, image_root, read_lines
from dinotxt.results.skip import Skip

_PROBES = 5


def read_tokens(
    path: Path, report: Callable[[Skip], None], listing: Path | None = None
) -> Iterator[Captioned]:
    """Yield (key, image, captions) in the order of the file.

    Args:
        path: The file of captions.
        report: Called for a line that is none, and for a name of the list without a caption.
        listing: A file with the names of the pictures to use, one a line.

    Raises:
        DataError: If a file cannot be read or the pictures are not found.
    """
    wanted = None if listing is None else {line for line in read_lines(listing) if line}
    captions: dict[str, list[str]] = {}
    for number, line in enumerate(read_lines(path), 1):
        name, tab, caption = line.partition("\t")
        name = name.partition("#")[0]
        if not tab or not caption.strip():
            report(Skip(f"{path}:{number}", "it is not a name, a tab and a caption"))
        elif wanted is None or name in wanted:
            captions.setdefault(name, []).append(caption.strip())
    for name in sorted((wanted or set()) - captions.keys()):
        report(Skip(name, f"{path.name} has no caption of it"))
    root = image_root(list(captions)[:_PROBES], path.parent)
    for name, found in captions.items():
        yield name, ImageRef(str(root / name)), tuple(found)
