"""A segment: vectors and the files that they belong to, written once and never changed.

``NAME.npy`` holds ``float32 [N, E]`` and can be memory-mapped; ``NAME.jsonl`` describes the file
of each row on the line of the same number; ``NAME.unreadable.jsonl`` lists the files that gave no
vector, and why.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dinotxt.errors import DataError
from dinotxt.files import atomic_path
from dinotxt.search.dates import file_date
from dinotxt.search.engines import Vectors

_ENDINGS = ("npy", "jsonl", "unreadable.jsonl")
_PARSED_AT_ONCE = 4096
_ROWS = 8192
_KINDS = (str, int, int, str, str, str)  # of a record
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
        vectors: ``float32 [N, E]``.
        text: The lines of the files that have one, and of those that have none.

    Raises:
        DataError: If these do not fit together.
    """

    def __init__(self, folder: Path, vectors: Vectors, text: tuple[bytes, bytes]) -> None:
        self.vectors = vectors
        self._folder = folder
        self._text, self._unreadable = text
        self._days: Days | None = None
        self._ends = np.flatnonzero(np.frombuffer(self._text, np.uint8) == ord("\n"))
        if len(self._ends) != len(vectors):
            raise _damaged(folder, f"{len(vectors)} vectors have {len(self._ends)} lines")

    @classmethod
    def open(cls, folder: Path, name: str, width: int) -> "Segment":
        """Open the files of a segment.

        Args:
            folder: The index.
            name: The segment's name in it.
            width: Of its vectors.

        Raises:
            DataError: If a file is missing or the files do not fit together.
        """
        vectors = open_vectors(folder, name, width)
        try:
            lines = [(folder / file).read_bytes() for file in segment_files(name)[1:]]
        except OSError as error:
            raise _damaged(folder, error) from error
        return cls(folder, vectors, (lines[0], lines[1]))

    def __len__(self) -> int:
        return len(self.vectors)

    def check_finite(self, rows: int | None = None) -> None:
        """Look for NaN and infinity in the first rows, or in all.

        Raises:
            DataError: If there is one.
        """
        for start in range(0, min(rows or len(self), len(self)), _ROWS):
            if not np.isfinite(self.vectors[start : start + _ROWS]).all():
                raise _damaged(self._folder, "a vector is NaN or infinite")

    def record(self, row: int) -> Record:
        """Return the file of one row; the others are not parsed."""
        start = int(self._ends[row - 1]) + 1 if row else 0
        (record,) = self._parse([self._text[start : int(self._ends[row])]])
        return record

    def records(self) -> Iterator[Record]:
        """Yield the file of each row."""
        return self._parse(self._text.splitlines())

    def days(self) -> Days:
        """Return the day of each row, ``datetime64[D] [N]``; read once, then kept."""
        if self._days is None:
            days = [record.day or "NaT" for record in self.records()]
            try:
                self._days = np.array(days, "datetime64[D]")
            except ValueError as error:
                raise _damaged(self._folder, error) from error
        return self._days

    def unreadable(self) -> Iterator[Record]:
        """Yield the files that gave no vector."""
        return self._parse(self._unreadable.splitlines())

    def _parse(self, lines: Iterable[bytes]) -> Iterator[Record]:
        """Parse lines, many at a time, for a million of them should take seconds."""
        remaining = iter(lines)
        while block := b",".join(islice(remaining, _PARSED_AT_ONCE)):
            try:
                contents = json.loads(f"[{block.decode('ascii')}]")
                yield from [_record(content) for content in contents]
            except (TypeError, ValueError, RecursionError) as error:
                raise _damaged(self._folder, error) from error


def open_vectors(folder: Path, name: str, width: int) -> Vectors:
    """Memory-map the vectors of a segment.

    Raises:
        DataError: If the file is missing or damaged, or holds something else.
    """
    try:
        vectors: Vectors = np.load(folder / f"{name}.npy", mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(folder, error) from error
    if vectors.dtype != np.float32 or vectors.shape[1:] != (width,):
        held = f"{vectors.dtype} {list(vectors.shape)}, not float32 [n, {width}]"
        raise _damaged(folder, f"{name}.npy holds {held}")
    return vectors


def segment_files(name: str) -> list[str]:
    """Return the names of a segment's files."""
    return [f"{name}.{ending}" for ending in _ENDINGS]


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
    for file, text in zip(segment_files(name)[1:], record_lines(records), strict=True):
        with atomic_path(folder / file) as temporary:
            temporary.write_bytes(text)


def record_lines(records: Sequence[Record]) -> tuple[bytes, bytes]:
    """Return the lines of the records that have a vector, and of those that have none."""
    # ASCII: a file name that is not valid UTF-8 survives as escaped surrogates.
    lines = [(json.dumps(record._asdict()) + "\n").encode("ascii") for record in records]
    pairs = list(zip(records, lines, strict=True))
    found = b"".join(line for record, line in pairs if not record.reason)
    return found, b"".join(line for record, line in pairs if record.reason)


def remove_segment(folder: Path, name: str) -> None:
    """Delete the files of a segment that the manifest no longer names."""
    for file in segment_files(name):
        (folder / file).unlink(missing_ok=True)


def _damaged(folder: Path, detail: object) -> DataError:
    return DataError(f"{folder} is damaged ({detail}): delete it and index again.")


def _record(content: dict[str, Any]) -> Record:
    """Make a record of what a line says.

    Raises:
        ValueError: If a value is of another kind, or the path leads out of the indexed folder.
    """
    record = Record(**content)
    if not all(map(isinstance, record, _KINDS)):
        raise ValueError(f"{record} is no record")
    path = record.path
    if not path or path.startswith("/") or "\0" in path or ".." in path.split("/"):
        raise ValueError(f"{path!r} is not inside the indexed folder")
    return record
