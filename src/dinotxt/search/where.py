"""Filters of a search: by folder and by date."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path, PurePath

import numpy as np

from dinotxt.data.pictures import sort_key
from dinotxt.errors import ConfigError
from dinotxt.search.dates import period
from dinotxt.search.engines import Rows
from dinotxt.search.store import Segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which pictures a search may find.

    Attributes:
        folders: Those in one of these folders, at any depth; absolute, or relative to the
            indexed folder. Empty for all.
        since: Those taken on this day or later.
        until: Those taken on this day or before.
    """

    folders: tuple[str, ...] = ()
    since: date | None = None
    until: date | None = None

    @classmethod
    def parse(
        cls, folders: Iterable[str] = (), since: str | None = None, until: str | None = None
    ) -> "Filter":
        """Make a filter from text; a year or a month is taken whole.

        Args:
            folders: As the attribute.
            since: ``YYYY``, ``YYYY-MM`` or ``YYYY-MM-DD``.
            until: The same.

        Raises:
            ConfigError: If a date cannot be understood, or ``until`` is before ``since``.
        """
        try:
            first = period(since)[0] if since else None
            last = period(until)[1] if until else None
        except ValueError as error:
            raise ConfigError(str(error)) from None
        if first and last and last < first:
            raise ConfigError(f"Nothing is since {first} and until {last}: swap them.")
        return cls(folders=tuple(folders), since=first, until=last)

    def __bool__(self) -> bool:
        return bool(self.folders or self.since or self.until)

    def prefixes(self, root: Path) -> list[str]:
        """Return the folders relative to ``root``, with ``/`` between the parts.

        Raises:
            ConfigError: If one lies outside.
        """
        return [_relative(folder, root) for folder in self.folders]


def matching_rows(segment: Segment, root: Path, where: Filter) -> Rows:
    """Return the rows of a segment sorted by path that pass a filter, ``int64 [n]``, rising.

    Raises:
        ConfigError: If a folder holds no picture of the index.
    """
    rows = np.arange(len(segment), dtype=np.int64)
    if where.folders:
        inside = np.zeros(len(segment), bool)
        for folder, prefix in zip(where.folders, where.prefixes(root), strict=True):
            found = _rows_below(segment, prefix)
            if not found:
                raise ConfigError(f"The index has no pictures in {folder}: give another folder.")
            inside[found.start : found.stop] = True
        rows = rows[inside]
    if where.since or where.until:
        days = segment.days()[rows]
        first = np.datetime64(where.since or date.min, "D")
        last = np.datetime64(where.until or date.max, "D")
        rows = rows[(days >= first) & (days <= last)]  # an unknown day is in no period
    return rows


def _rows_below(segment: Segment, prefix: str) -> range:
    """Find a folder's rows by bisection; ``record`` parses one line of the table."""
    if not prefix:
        return range(len(segment))
    parts = sort_key(prefix)
    rows = range(len(segment))

    def key(row: int) -> list[str]:
        return sort_key(segment.record(row).path)[: len(parts)]

    return range(bisect_left(rows, parts, key=key), bisect_right(rows, parts, key=key))


def _relative(folder: str, root: Path) -> str:
    path = PurePath(folder)
    if path.is_absolute():
        if not path.is_relative_to(root):
            raise _outside(folder)
        path = path.relative_to(root)
    if ".." in path.parts:
        raise _outside(folder)
    return "" if path == PurePath() else path.as_posix()


def _outside(folder: str) -> ConfigError:
    return ConfigError(f"{folder} is not in the indexed folder: give one of its own folders.")
