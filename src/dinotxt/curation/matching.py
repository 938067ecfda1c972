"""Which metadata entries a caption holds: all overlapping ones, each once (paper section 3.2).

Two engines with identical results: an Aho-Corasick automaton (extra ``curate``) and word n-grams
in a dictionary, which needs nothing. Neither imports torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from operator import itemgetter
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from dinotxt.curation.spacing import Normalize, normalizer, spaced_lines, spacing
from dinotxt.errors import import_extra

MatchEngine = Literal["ahocorasick", "ngram"]

_BATCH = 64  # captions searched by one call: the matches of more leave the cache


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """Entries by caption, as compressed rows.

    Attributes:
        entries: int32, the entry ids of all captions; ascending within a caption.
        offsets: ``[n + 1]`` int64, where each caption's entries start.
    """

    entries: NDArray[np.int32]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> NDArray[np.int32]:
        return self.entries[self.offsets[row] : self.offsets[row + 1]]

    def counts(self, num_entries: int) -> NDArray[np.uint64]:
        """Return how many captions hold each entry."""
        return np.bincount(self.entries, minlength=num_entries).astype(np.uint64)


class Matcher(Protocol):
    """Find entries in captions."""

    def match(self, captions: Sequence[str]) -> Matches:
        """Return the entries of each caption."""


def open_matcher(
    entries: Sequence[str],
    *,
    engine: MatchEngine = "ahocorasick",
    normalize: Normalize = "metaclip",
) -> Matcher:
    """Build a matcher.

    Args:
        entries: The metadata; the position is the id. Entries that normalise to the same text
            count as the first of them.
        engine: ``ahocorasick`` or ``ngram``.
        normalize: See `spacing.normalizer`.

    Raises:
        BackendError: If ``ahocorasick-rs`` is wanted and not installed.
    """
    kind = AhoCorasickMatcher if engine == "ahocorasick" else NgramMatcher
    return kind(entries, normalize)


class AhoCorasickMatcher:
    """One pass of an automaton over captions joined by line ends, which it finds as well."""

    def __init__(self, entries: Sequence[str], normalize: Normalize) -> None:
        rust = import_extra("ahocorasick_rs", extra="curate")
        self._normalize = normalizer(normalize)
        first = _first_ids(entries, normalize)
        self._ids = np.fromiter(first.values(), np.int64, len(first))
        self._end = len(first)
        texts = list(first)
        del first  # the automaton takes memory enough, so its patterns are made one by one
        patterns = chain((f" {text} " for text in texts), "\n")
        self._find = rust.AhoCorasick(patterns).find_matches_as_indexes

    def match(self, captions: Sequence[str]) -> Matches:
        """Return the entries of each caption."""
        parts = [
            self._match_batch(captions[start : start + _BATCH])
            for start in range(0, len(captions), _BATCH)
        ]
        return _joined(parts)

    def _match_batch(self, captions: Sequence[str]) -> Matches:
        if self._normalize:
            captions = [self._normalize(caption) for caption in captions]
        found = self._find(spaced_lines(captions), True)
        numbers = np.fromiter(map(itemgetter(0), found), np.int64, len(found))
        is_end = numbers == self._end
        rows = np.cumsum(is_end)[~is_end]
        width = int(self._ids.max(initial=0)) + 1
        keys = rows * width + self._ids[numbers[~is_end]]
        keys.sort()
        keys = keys[np.diff(keys, prepend=-1) != 0]
        rows, entries = np.divmod(keys, width)
        offsets = np.searchsorted(rows, np.arange(len(captions) + 1))
        return Matches(entries.astype(np.int32), offsets.astype(np.int64))


class NgramMatcher:
    """A dictionary of entries, asked for every run of words of a length that entries have."""

    def __init__(self, entries: Sequence[str], normalize: Normalize) -> None:
        self._normalize = normalizer(normalize)
        self._ids = _first_ids(entries, normalize)
        lengths: dict[str, set[int]] = {}
        for entry in self._ids:
            words = entry.split(" ")
            lengths.setdefault(words[0], set()).add(len(words))
        self._lengths = {word: tuple(sorted(found)) for word, found in lengths.items()}

    def match(self, captions: Sequence[str]) -> Matches:
        """Return the entries of each caption."""
        rows = [sorted(self._entries_of(caption)) for caption in captions]
        offsets = np.fromiter(accumulate(map(len, rows), initial=0), np.int64, len(rows) + 1)
        flat = (entry for row in rows for entry in row)
        return Matches(np.fromiter(flat, np.int32, int(offsets[-1])), offsets)

    def _entries_of(self, caption: str) -> set[int]:
        if self._normalize:
            caption = self._normalize(caption)
        words = spacing(caption)[1:-1].split(" ")
        found = set()
        for start, word in enumerate(words):
            for length in self._lengths.get(word, ()):
                entry = self._ids.get(" ".join(words[start : start + length]))
                if entry is not None and start + length <= len(words):
                    found.add(entry)
        return found


def _first_ids(entries: Sequence[str], normalize: Normalize) -> dict[str, int]:
    fold = normalizer(normalize)
    first: dict[str, int] = {}
    for index, entry in enumerate(entries):
        first.setdefault(fold(entry) if fold else entry, index)
    return first


def _joined(parts: Sequence[Matches]) -> Matches:
    if not parts:
        return Matches(np.empty(0, np.int32), np.zeros(1, np.int64))
    starts = accumulate((int(part.offsets[-1]) for part in parts), initial=0)
    offsets = [part.offsets[:-1] + start for part, start in zip(parts, starts, strict=False)]
    entries = np.concatenate([part.entries for part in parts])
    return Matches(entries, np.concatenate([*offsets, [len(entries)]]))
