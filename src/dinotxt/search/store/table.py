"""What an index knows of its files: the base and the pieces of an unfinished update together."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from dinotxt.search.engines import Vectors
from dinotxt.search.store.segment import Record, open_vectors
from dinotxt.search.store.store import Store

_BLOCK_ROWS = 8192
_MOST_OPEN = 64


class Place(NamedTuple):
    """Where a record and its vector are (row -1: it has none)."""

    record: Record
    segment: str
    row: int


class Table:
    """The last record of each path.

    Args:
        store: The index whose segments are read.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._places: dict[str, Place] = {}
        self._opened: dict[str, Vectors] = {}
        self.base: dict[str, str] = {}  # path to digest of what the base can find
        if store.manifest.generation:
            self.add(store.manifest.base)
            places = self._places.items()
            self.base = {path: place.record.sha256 for path, place in places if place.row >= 0}
        for name in store.pieces():
            self.add(name)

    def add(self, name: str) -> None:
        """Take in a segment; its records replace older ones of the same path."""
        segment = self._store.segment(name)
        rows = ((record, row) for row, record in enumerate(segment.records()))
        failures = ((record, -1) for record in segment.unreadable())
        for record, row in chain(rows, failures):
            self._places[record.path] = Place(record, name, row)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __getitem__(self, path: str) -> Place:
        return self._places[path]

    def get(self, path: str) -> Place | None:
        """Return what is known of a path, if anything."""
        return self._places.get(path)

    def vectors(self, places: Sequence[Place]) -> Iterator[Vectors]:
        """Yield the vectors of places that have one, in their order, block by block."""
        for start in range(0, len(places), _BLOCK_ROWS):
            block = places[start : start + _BLOCK_ROWS]
            names = np.array([place.segment for place in block])
            rows = np.array([place.row for place in block])
            out = np.empty((len(block), self._store.manifest.dim), np.float32)
            for name in np.unique(names):
                here = names == name
                out[here] = self._segment_vectors(str(name))[rows[here]]
            yield out

    def _segment_vectors(self, name: str) -> Vectors:
        """Open a segment's vectors; a bounded number stay open, for each holds a descriptor."""
        if name not in self._opened:
            if len(self._opened) >= _MOST_OPEN:
                self._opened.clear()
            self._opened[name] = open_vectors(self._store.folder, name, self._store.manifest.dim)
        return self._opened[name]
