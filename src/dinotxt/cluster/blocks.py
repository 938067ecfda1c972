"""Rows of vectors, in memory or in files, cut into blocks that depend on the data alone.

A block is the unit of work and of rounding: its sums are added in float64 and the blocks' sums
in block order, so a result is the same for any number of workers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinotxt.errors import DataError

Vectors = NDArray[np.floating[Any]]
VectorSource = Path | Vectors

_MIN_ROWS = 1 << 12
_MAX_ROWS = 1 << 22
_WANTED_BLOCKS = 64


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Rows ``start`` to ``stop`` of one array or ``.npy`` file."""

    source: VectorSource
    start: int
    stop: int

    def open(self) -> Vectors:
        """Return the rows; those of a file are mapped, not read."""
        array: Vectors
        if isinstance(self.source, Path):
            array = np.load(self.source, mmap_mode="c")  # torch warns about read-only
        else:
            array = self.source
        return array[self.start : self.stop]


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A run of rows over one or more parts.

    Attributes:
        index: The position of the block among all.
        start: The number of the first row, counted over all blocks.
        parts: Where the rows are.
    """

    index: int
    start: int
    parts: tuple[Part, ...]

    def __len__(self) -> int:
        return sum(part.stop - part.start for part in self.parts)

    def chunks(self, rows: int) -> Iterator[Vectors]:
        """Yield the rows as stored, as arrays ``[<= rows, D]``, in order."""
        for part in self.parts:
            array = part.open()
            for start in range(0, len(array), rows):
                yield array[start : start + rows]

    def take(self, rows: NDArray[np.int64]) -> Vectors:
        """Return the rows with these numbers (within the block, ascending), as stored."""
        taken = []
        first = 0
        for part in self.parts:
            last = first + part.stop - part.start
            low, high = np.searchsorted(rows, (first, last))
            taken.append(part.open()[rows[low:high] - first])
            first = last
        rows_taken: Vectors = np.concatenate(taken)
        return rows_taken


def blocks_of(sources: Sequence[VectorSource], *, rows: int | None = None) -> list[Block]:
    """Cut arrays ``[n_i, D]``, taken as one long array, into blocks.

    Args:
        sources: Arrays, or paths of ``.npy`` files.
        rows: Rows a block; by default about 64 blocks of 4,096 to 4 million rows each.

    Raises:
        DataError: If a file is missing or damaged, or the widths differ.
    """
    lengths = [_shape(source) for source in sources]
    if len({width for length, width in lengths if length}) > 1:
        raise DataError("The vectors do not all have the same width: embed them with one model.")
    total = sum(length for length, _ in lengths)
    step = rows or block_rows(total)
    offsets = np.cumsum([0, *(length for length, _ in lengths)])
    return [
        Block(index, start, _parts(sources, offsets, start, min(start + step, total)))
        for index, start in enumerate(range(0, total, step))
    ]


def block_rows(total: int) -> int:
    """Return the rows of a block of so many: about 64 blocks of 4,096 to 4 million rows each."""
    return min(max(-(-total // _WANTED_BLOCKS), _MIN_ROWS), _MAX_ROWS)


def width_of(blocks: Sequence[Block]) -> int:
    """Return the number of columns D."""
    return int(blocks[0].parts[0].open().shape[1])


def _parts(
    sources: Sequence[VectorSource], offsets: NDArray[np.int64], start: int, stop: int
) -> tuple[Part, ...]:
    first = int(np.searchsorted(offsets, start, side="right")) - 1
    parts = []
    while first < len(sources) and offsets[first] < stop:
        low = max(start, int(offsets[first])) - int(offsets[first])
        high = min(stop, int(offsets[first + 1])) - int(offsets[first])
        if high > low:
            parts.append(Part(sources[first], low, high))
        first += 1
    return tuple(parts)


def _shape(source: VectorSource) -> tuple[int, int]:
    if not isinstance(source, Path):
        return int(source.shape[0]), int(source.shape[1])
    try:
        rows, width = np.load(source, mmap_mode="r").shape
    except (OSError, ValueError) as error:
        raise DataError(f"{source} is missing or damaged ({error}): make it again.") from None
    return int(rows), int(width)
