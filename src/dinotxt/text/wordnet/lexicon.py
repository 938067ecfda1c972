"""What nouns are to each other by WordNet: part and whole, kind and example.

Reads the plain files of WordNet 3.0 (``wndb(5WN)``): ``data.noun``, ``index.noun``, ``noun.exc``.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from dinotxt.errors import DataError
from dinotxt.text.prompt import synonyms

Relation = Literal["part", "whole", "hypernym", "hyponym"]
DEBIAN = Path("/usr/share/wordnet")
_KINDS, _PARTS = frozenset({"@", "@i"}), frozenset({"%p", "%s", "%m"})
_PHYSICAL = "physical_entity"
_ENDINGS = (
    ("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"), ("men", "man"),
    ("ies", "y"), ("s", ""),
)  # fmt: skip


class Lexicon:
    """The nouns of WordNet, looked up by class names.

    A class name stands for its first sense that is a physical thing. Names that WordNet lacks are
    looked up in the singular, without what follows a hyphen, and by their last word.

    Args:
        folder: Holds ``data.noun``, ``index.noun`` and ``noun.exc``; None is where Debian's
            package ``wordnet-base`` puts them.

    Raises:
        DataError: If the files are missing.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or DEBIAN
        self._index = dict(self._lemmas())
        self._irregular = dict(self._exceptions())
        self._kinds: dict[int, list[int]] = {}
        self._parts: dict[int, list[int]] = {}
        self._physical: int | None = None
        for line in self._lines("data.noun"):
            self._read_synset(line.partition("|")[0].split(" "))

    def relation(self, true: str, predicted: str) -> Relation | None:
        """Return what ``predicted`` is to ``true``: its part, whole, hypernym or hyponym.

        Parts of parts count, and parts that all things of the kind have.
        """
        first, second = self.sense(true), self.sense(predicted)
        if first is None or second is None or first == second:
            return None
        if second in self._above(first):
            return "hypernym"
        if first in self._above(second):
            return "hyponym"
        if self._is_part(second, first):
            return "part"
        return "whole" if self._is_part(first, second) else None

    def sense(self, name: str) -> int | None:
        """Return the synset that a class name stands for, or None if WordNet has no such noun."""
        senses = [
            sense
            for synonym in synonyms(name)
            for form in _forms(synonym)
            for lemma in self._lemmas_of(form)
            for sense in self._index.get(lemma, ())
        ]
        physical = (sense for sense in senses if self._physical in self._above(sense))
        return next(physical, senses[0] if senses else None)

    def _lemmas_of(self, form: str) -> Iterator[str]:
        """Yield a word and what it may be the plural of."""
        yield form
        if form in self._irregular:
            yield self._irregular[form]
        for end, base in _ENDINGS:
            if form.endswith(end):
                yield form.removesuffix(end) + base

    def _is_part(self, part: int, whole: int) -> bool:
        found = set().union(*(self._parts.get(kind, []) for kind in {whole} | self._above(whole)))
        parts = found | _closure(found, self._parts)
        return not parts.isdisjoint({part} | self._above(part))

    def _above(self, synset: int) -> set[int]:
        """Return all hypernyms."""
        return _closure({synset}, self._kinds)

    def _read_synset(self, fields: list[str]) -> None:
        synset, num_words = int(fields[0]), int(fields[3], 16)
        if fields[4] == _PHYSICAL:
            self._physical = synset
        first = 5 + 2 * num_words
        for place in range(first, first + 4 * int(fields[first - 1]), 4):
            symbol, target, kind = fields[place], int(fields[place + 1]), fields[place + 2]
            if kind == "n" and symbol in _KINDS:
                self._kinds.setdefault(synset, []).append(target)
            elif kind == "n" and symbol in _PARTS:
                self._parts.setdefault(synset, []).append(target)

    def _lemmas(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        for line in self._lines("index.noun"):
            fields = line.split()
            yield fields[0], tuple(int(offset) for offset in fields[-int(fields[2]) :])

    def _exceptions(self) -> Iterator[tuple[str, str]]:
        for line in self._lines("noun.exc"):
            plural, singular, *_ = line.split()
            yield plural, singular

    def _lines(self, name: str) -> Iterator[str]:
        try:
            with (self._folder / name).open(encoding="utf-8") as lines:
                yield from (line for line in lines if not line.startswith(" "))
        except OSError as error:
            raise DataError(
                f"{self._folder} has no WordNet file {name} ({error.strerror}): install Debian's "
                "`wordnet-base`, or give --wordnet the folder `dict` of WordNet 3.0."
            ) from None


def _forms(name: str) -> Iterator[str]:
    """Yield what a class name may be listed under, the closest first."""
    words = re.sub(r"[\s_]+", "_", name.strip().lower())
    yield words
    yield words.replace("-", "_")
    yield words.partition("-")[0]
    yield re.split("[_-]", words)[-1]


def _closure(start: set[int], links: dict[int, list[int]]) -> set[int]:
    """Return everything that a chain of links leads to."""
    reached: set[int] = set()
    waiting = list(start)
    while waiting:
        for target in links.get(waiting.pop(), ()):
            if target not in reached:
                reached.add(target)
                waiting.append(target)
    return reached
