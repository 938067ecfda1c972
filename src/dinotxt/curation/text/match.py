"""Which metadata entries a caption holds: all overlapping ones, each once (paper section 3.2).

Two engines with identical results: runs of words in a trie, which needs NumPy alone and is the
faster one, and an Aho-Corasick automaton (extra ``curate``). Neither imports torch.
``match/NAME.parquet`` has ``pair_id`` and ``entries`` (list of int32) a caption, ``counts.npy``
how many captions hold each entry.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import accumulate, chain, repeat
from operator import itemgetter
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dinotxt.curation.config import CurationConfig, MatchConfig, MatchEngine, Normalize
from dinotxt.curation.engine import Engine
from dinotxt.curation.pool import read_table, save_array, table_paths, write_table
from dinotxt.curation.stage import StageFolder, StageReport, read_report
from dinotxt.curation.text.metadata import ENTRIES, read_entries
from dinotxt.curation.text.spacing import normalizer, spaced_lines
from dinotxt.errors import import_extra
from dinotxt.files import sha256_file

STAGE = "match"
UNMATCHED = "no metadata entry matched"

_BATCH = 64  # captions searched by one call: the matches of more leave the cache
_WORDS_BATCH = 1024
_END, _UNKNOWN = 0, 1  # numbers that no word has


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
    engine: MatchEngine = "ngram",
    normalize: Normalize = "metaclip",
) -> Matcher:
    """Build a matcher.

    Args:
        entries: The metadata; the position is the id. Entries that normalise to the same text
            count as the first of them.
        engine: ``ngram`` or ``ahocorasick``.
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
        return _rows_of(rows * width + self._ids[numbers[~is_end]], width, len(captions))


class NgramMatcher:
    """Runs of words looked up word by word in a trie, for a whole batch of captions at once.

    A word has a number, and so has every beginning of an entry of more words; an edge leads from
    a beginning and the next word to a longer one. All places of a batch take a step together.
    """

    def __init__(self, entries: Sequence[str], normalize: Normalize) -> None:
        self._normalize = normalizer(normalize)
        trie = _Trie(_first_ids(entries, normalize))
        self._numbers = trie.words
        self._num_words = len(trie.words)
        self._entry = trie.entries
        self._edges, self._targets = trie.edges, trie.targets
        self._begins = np.zeros(len(self._entry), dtype=bool)  # has longer ones
        self._begins[self._edges // self._num_words] = True
        self._goes_on = np.zeros(self._num_words, dtype=bool)  # is some entry's later word
        self._goes_on[self._edges % self._num_words] = True
        self._width = int(self._entry.max(initial=0)) + 1

    def match(self, captions: Sequence[str]) -> Matches:
        """Return the entries of each caption."""
        parts = [
            self._match_batch(captions[start : start + _WORDS_BATCH])
            for start in range(0, len(captions), _WORDS_BATCH)
        ]
        return _joined(parts)

    def _match_batch(self, captions: Sequence[str]) -> Matches:
        if self._normalize:
            captions = [self._normalize(caption) for caption in captions]
        texts = spaced_lines(captions)[1:-1].split(" ")
        words = np.fromiter(map(self._numbers.get, texts, repeat(_UNKNOWN)), np.int64, len(texts))
        rows = np.cumsum(words == _END)
        keys = []
        places, states = np.arange(len(words)), words
        while len(places):
            found = self._entry[states]
            keys.append((rows[places] * self._width + found)[found >= 0])
            places, states = self._step(words, places, states)
        return _rows_of(np.concatenate(keys), self._width, len(captions))

    def _step(
        self, words: NDArray[np.int64], places: NDArray[np.int64], states: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Follow each beginning by one word; return the last places and the states that are left.

        ``places`` are the places of the last words; a beginning never runs past a caption's end,
        since no edge has the end as its word.
        """
        if len(places) and places[-1] + 1 == len(words):
            places, states = places[:-1], states[:-1]
        following = words[places + 1]
        going = np.flatnonzero(self._begins[states] & self._goes_on[following])
        wanted = states[going] * self._num_words + following[going]
        at = np.minimum(np.searchsorted(self._edges, wanted), max(len(self._edges) - 1, 0))
        hit = self._edges[at] == wanted if len(self._edges) else np.zeros(0, dtype=bool)
        return places[going[hit]] + 1, self._targets[at[hit]]


class _Trie:
    """Entries as paths of words.

    Attributes:
        words: The number of each word.
        entries: The entry that ends in each state, -1 for none.
        edges: ``state * words + word`` of every step, ascending.
        targets: The state that each step leads to.

    Args:
        first: The id of each entry.
    """

    def __init__(self, first: dict[str, int]) -> None:
        self.words: dict[str, int] = {"\n": _END, "\n\n": _UNKNOWN}  # no word of a caption
        words = np.fromiter(self._number_words(first), np.int64)
        lengths = np.fromiter((text.count(" ") + 1 for text in first), np.int64, len(first))
        starts = np.cumsum(lengths) - lengths
        states = words[starts]
        num_states = width = len(self.words)
        edges = [np.empty(0, dtype=np.int64)]
        for depth in range(1, int(lengths.max(initial=1))):  # later states have higher numbers
            longer = np.flatnonzero(lengths > depth)
            steps = states[longer] * width + words[starts[longer] + depth]
            steps, reached = np.unique(steps, return_inverse=True)
            states[longer] = num_states + reached
            num_states += len(steps)
            edges.append(steps)
        self.edges = np.concatenate(edges)
        self.targets = np.arange(width, num_states)
        self.entries = np.full(num_states, -1, dtype=np.int64)
        self.entries[states] = np.fromiter(first.values(), np.int64, len(first))

    def _number_words(self, texts: Iterable[str]) -> Iterator[int]:
        for text in texts:
            for word in text.split(" "):
                yield self.words.setdefault(word, len(self.words))


def _rows_of(keys: NDArray[np.int64], width: int, num_captions: int) -> Matches:
    """Return the matches of ``caption * width + entry``, each once and in order."""
    keys.sort()
    keys = keys[np.diff(keys, prepend=-1) != 0]
    rows, entries = np.divmod(keys, width)
    offsets = np.searchsorted(rows, np.arange(num_captions + 1))
    return Matches(entries.astype(np.int32), offsets.astype(np.int64))


def _first_ids(entries: Sequence[str], normalize: Normalize) -> dict[str, int]:
    """Return the id of each different entry; one with a line end is in no caption."""
    fold = normalizer(normalize)
    first: dict[str, int] = {}
    for index, entry in enumerate(entries):
        text = fold(entry) if fold else entry
        if "\n" not in text:
            first.setdefault(text, index)
    return first


def _joined(parts: Sequence[Matches]) -> Matches:
    if not parts:
        return Matches(np.empty(0, np.int32), np.zeros(1, np.int64))
    starts = accumulate((int(part.offsets[-1]) for part in parts), initial=0)
    offsets = [part.offsets[:-1] + start for part, start in zip(parts, starts, strict=False)]
    entries = np.concatenate([part.entries for part in parts])
    return Matches(entries, np.concatenate([*offsets, [len(entries)]]))


def match_captions(config: CurationConfig, engine: Engine) -> StageReport:
    """Find the metadata entries of every caption and count them."""
    root = config.output
    settings = {"normalize": config.match.normalize}  # both engines give the same result
    folder = StageFolder(root, STAGE, config=settings, after=["pairs", "metadata"])
    if finished := folder.finished():
        return finished
    entries = root / "metadata" / ENTRIES
    num_entries = read_report(root, "metadata").n_out
    tables = table_paths(root, read_report(root, "pairs"))
    match = partial(
        _match_table,
        folder=folder.path,
        entries=entries,
        digest=sha256_file(entries),
        settings=config.match,
    )
    counts = np.zeros(num_entries, dtype=np.uint64)
    captions = matched = 0
    for ids, found, in_table, matched_in_table in engine.map(match, tables):
        counts[ids] += found
        captions += in_table
        matched += matched_in_table
    save_array(folder.path / "counts.npy", counts)
    names = [folder.path / "counts.npy", *(folder.path / table.name for table in tables)]
    return folder.finish(
        StageReport(
            stage=STAGE,
            n_in=captions,
            n_out=matched,
            reasons={UNMATCHED: captions - matched} if captions > matched else {},
            files=folder.relative(names),
            details={
                "num_entries": num_entries,
                "entries_found": int((counts > 0).sum()),
                "num_matches": int(counts.sum()),
            },
        )
    )


def _match_table(
    table: Path, *, folder: Path, entries: Path, digest: str, settings: MatchConfig
) -> tuple[NDArray[np.int64], NDArray[np.uint64], int, int]:
    """Match one table, unless that is done; return its (entry ids, counts, captions, matched)."""
    path = folder / table.name
    if path.exists():
        matches = read_matches(path)
    else:
        arrow = import_extra("pyarrow", extra="curate")
        content = read_table(table, ["pair_id", "caption"])
        matches = _matcher(entries, digest, settings).match(content["caption"].to_pylist())
        lists = arrow.ListArray.from_arrays(matches.offsets.astype(np.int32), matches.entries)
        write_table(path, {"pair_id": content["pair_id"], "entries": lists})
    ids, counts = np.unique(matches.entries, return_counts=True)
    matched = int((np.diff(matches.offsets) > 0).sum())
    return ids.astype(np.int64), counts.astype(np.uint64), len(matches), matched


def read_matches(path: Path) -> Matches:
    """Read the entries of a table's captions."""
    column = read_table(path, ["entries"])["entries"].combine_chunks()
    return Matches(column.flatten().to_numpy(), column.offsets.to_numpy().astype(np.int64))


@lru_cache(maxsize=1)
def _matcher(entries: Path, digest: str, settings: MatchConfig) -> Matcher:
    del digest  # part of the key: the file may have changed
    return open_matcher(read_entries(entries), engine=settings.engine, normalize=settings.normalize)
