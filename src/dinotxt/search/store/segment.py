"""A segment: vectors and the files that they belong to, written once and never changed.

``NAME.npy`` holds ``float32 [N, E]`` and can be memory-mapped; ``NAME.jsonl`` describes the file
of each row on the line of the same number; ``NAME.unreadable.jsonl`` lists the files that gave no
vector, and why.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dinotxt.errors import DataError
from dinotxt.files import atomic_path
from dinotxt.search.dates import file_date
from dinotxt.search.engines import Vectors

_PARSED_AT_ONCE = 4096
Days = npt.NDArray[np.datetime64]


class Record(NamedTuple):
    """What the index knows of one picture file.

    Attributes:
        path: Relative to the indexed folder, with ``/`` between the parts.
        size: In bytes.
        mtime_ns: Time of the last modification, in nanoseconds.
        sha256: Of the content; empty for a file too large to be read.
        reason: Why it has no vector; empty if it has one.
        taken: The day in its EXIF as ``YYYY-MM-DD``; empty if there is none.
    """

    path: str
    size: int
    mtime_ns: int
    sha256: str
    reason: str = ""
    taken: str = ""

    @property
    def day(self) -> str:
        """The day on which it was taken, or else the day of the file; empty if unknown."""
        return self.taken or file_date(self.mtime_ns)


class Segment:
    """A written segment, opened without reading its vectors.

    Args:
        folder: The index.
        name: The segment's name in it.

    Raises:
        DataError: If a file is missing or the files do not fit together.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.vectors = open_vectors(folder, name)
        try:
            self._text = (folder / f"{name}.jsonl").read_bytes()
            self._unreadable = (folder / f"{name}.unreadable.jsonl").read_bytes()
        except OSError as error:
            raise _damaged(folder, error) from error
        self._days: Days | None = None
        self._ends = np.flatnonzero(np.frombuffer(self._text, np.uint8) == ord("\n"))
        if len(self._ends) != len(self.vectors):
            raise _damaged(folder, f"{name} has {len(self._ends)} lines")

    def __len__(self) -> int:
        return len(self.vectors)

    def record(self, row: int) -> Record:
        """Return the file of one row; the others are not parsed."""
        start = int(self._ends[row - 1]) + 1 if row else 0
        return Record(**json.loads(self._text[start : int(self._ends[row])]))

    def records(self) -> Iterator[Record]:
        """Yield the file of each row."""
        return _parse(self._text.splitlines())

    def days(self) -> Days:
        """Return the day of each row, ``datetime64[D] [N]``; read once, then kept."""
        if self._days is None:
            days = [record.day or "NaT" for record in self.records()]
            self._days = np.array(days, "datetime64[D]")
        return self._days

    def unreadable(self) -> Iterator[Record]:
        """Yield the files that gave no vector."""
        return _parse(self._unreadable.splitlines())


def open_vectors(folder: Path, name: str) -> Vectors:
    """Memory-map the vectors of a segment.

    Raises:
        DataError: If the file is missing or damaged.
    """
    try:
        vectors: Vectors = np.load(folder / f"{name}.npy", mmap_mode="r")
    except (OSError, ValueError) as error:
        raise _damaged(folder, error) from error
    return vectors


def write_segment(
    folder: Path,
    name: str,
    blocks: Iterable[Vectors],
    records: Sequence[Record],
    width: int,
) -> None:
    """Write a segment; until the manifest names it, it does not count.

    Args:
        folder: The index.
        name: The segment's name in it.
        blocks: The vectors, ``[n, E]`` each, in the order of the records that have one.
        records: The files, with and without a vector.
        width: E.
    """
    readable = [record for record in records if not record.reason]
    with atomic_path(folder / f"{name}.npy") as temporary, temporary.open("wb") as stream:
        header = {"descr": "<f4", "fortran_order": False, "shape": (len(readable), width)}
        np.lib.format.write_array_header_1_0(stream, header)
        for block in blocks:
            stream.write(np.ascontiguousarray(block, "<f4").tobytes())
    _write_lines(folder / f"{name}.jsonl", readable)
    _write_lines(folder / f"{name}.unreadable.jsonl", [r for r in records if r.reason])


def remove_segment(folder: Path, name: str) -> None:
    """Delete the files of a segment that the manifest no longer names."""
    for ending in ("npy", "jsonl", "unreadable.jsonl"):
        (folder / f"{name}.{ending}").unlink(missing_ok=True)


def _damaged(folder: Path, detail: object) -> DataError:
    return DataError(f"{folder} is damaged ({detail}): delete it and index again.")


def _parse(lines: Iterable[bytes]) -> Iterator[Record]:
    """Parse lines, many at a time, for a million of them should take seconds."""
    remaining = iter(lines)
    while block := b",".join(islice(remaining, _PARSED_AT_ONCE)):
        try:
            yield from [Record(**content) for content in json.loads(f"[{block.decode('ascii')}]")]
        except (TypeError, ValueError) as error:
            raise DataError(f"the index is damaged ({error}): delete it, index again.") from error


def _write_lines(path: Path, records: Sequence[Record]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", encoding="ascii") as stream:
        # ASCII: a file name that is not valid UTF-8 survives as escaped surrogates.
        stream.writelines(json.dumps(record._asdict()) + "\n" for record in records)
