"""Names of classes and of the kinds that they belong to, and which class lies under which name."""

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dinotxt.text.class_names import class_names
from dinotxt.text.prompt import synonyms

_KIND = "<"


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """The names of a classifier's classes.

    Attributes:
        names: Every name once, whatever its case.
        own: For each class, the places in ``names`` of its own names, the first one first.
        kinds: For each class, the places of the names of the kinds that it belongs to.
    """

    names: tuple[str, ...]
    own: tuple[tuple[int, ...], ...]
    kinds: tuple[tuple[int, ...], ...]

    def lies_under(self) -> NDArray[np.bool_]:
        """Return ``[names + 1, classes + 1]``: whether a class has a name, its own or of a kind.

        The last row and column are False: they stand for no name and no class.
        """
        table = np.zeros((len(self.names) + 1, len(self.own) + 1), dtype=bool)
        for number, places in enumerate(zip(self.own, self.kinds, strict=True)):
            for part in places:
                table[list(part), number] = True
        return table


def read_terms(source: str | Path) -> Terms:
    """Read the names of a classifier's classes.

    Args:
        source: ``imagenet`` (its published names, WordNet's, and those of the kinds that have at
            most 400 of its classes), or a file with a line a class: its names by ``|`` and its
            kinds from near to far, each behind a ``<``: ``tabby | tabby cat < cat | feline``.

    Raises:
        ConfigError: If the name is not known, or the file is unreadable or has an empty line.
    """
    lines = class_names(source)
    if source == "imagenet":
        more = _wordnet()
        lines = tuple(f"{line} | {rest}" for line, rest in zip(lines, more, strict=True))
    places: dict[str, int] = {}
    names: list[str] = []
    own, kinds = [], []
    for line in lines:
        first, *rest = (list(_find(part, places, names)) for part in line.split(_KIND))
        own.append(tuple(dict.fromkeys(first)))
        kinds.append(tuple(place for part in rest for place in part))
    return Terms(tuple(names), tuple(own), tuple(kinds))


def _find(part: str, places: dict[str, int], names: list[str]) -> Iterator[int]:
    """Give the place of each name, a new one for those that did not come before."""
    for name in synonyms(part):
        if name.lower() not in places:
            places[name.lower()] = len(names)
            names.append(name)
        yield places[name.lower()]


def _wordnet() -> list[str]:
    packed = resources.files("dinotxt.text") / "wordnet" / "imagenet.txt.gz"
    return gzip.decompress(packed.read_bytes()).decode("utf-8").splitlines()
