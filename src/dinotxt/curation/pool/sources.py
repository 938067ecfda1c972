"""The sources of a pool: which files the input means, and one of them read into tables."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from dinotxt.curation.pool.files import write_table
from dinotxt.data.order import pair_id, record_key
from dinotxt.data.readers import Pair, expand, find_tars, read_pairs
from dinotxt.errors import ConfigError, DataError
from dinotxt.files import read_json, sampled_sha256, sha256_file, write_json
from dinotxt.results.skip import Skip

_FEWEST, _MOST = 1_000, 10_000  # records of one table
_TABLES = 64
_MAX_LISTED = 100  # records named of one source
_WHOLE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """A tar, a table, an annotation file or a folder.

    Attributes:
        name: Its name among the sources, used for the files made from it.
        data: What `read_pairs` takes.
    """

    name: str
    data: str

    def fingerprint(self) -> str:
        """Return a digest of what it holds now; empty if it is not there."""
        path = Path(self.data.partition("#")[0] if ".json#" in self.data else self.data)
        return fingerprint(path) if path.exists() else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReport:
    """What was read from one source.

    Attributes:
        data: The source.
        fingerprint: Its digest when it was read.
        tables: The names of its tables.
        n_in: Captions found, and records that gave none.
        n_out: Captions in the tables.
        num_pictures: Records with a picture.
        reasons: What was left out, by reason.
        complete: Whether it was there and whole.
        skipped: What was wrong, by path.
    """

    data: str
    fingerprint: str
    tables: tuple[str, ...]
    n_in: int
    n_out: int
    num_pictures: int
    reasons: dict[str, int]
    complete: bool
    skipped: tuple[dict[str, str], ...]


def list_sources(data: str | Sequence[str]) -> tuple[list[Source], list[Skip]]:
    """Return the sources that exist, and a skip for each that is named but missing.

    Raises:
        DataError: If none exists.
    """
    missing: list[Skip] = []
    paths: list[str] = []
    for one in [data] if isinstance(data, str) else data:
        try:
            paths += _files(one, missing)
        except DataError as error:
            missing.append(Skip(one, str(error)))
    if not paths:
        raise DataError(f"There is nothing to curate: {missing[0].reason}")
    stems = [Path(path.partition("#")[0]).stem or "data" for path in paths]
    if len(set(stems)) < len(stems):
        stems = [f"{index:06d}-{stem}" for index, stem in enumerate(stems)]
    return [Source(stem, path) for stem, path in zip(stems, paths, strict=True)], missing


def table_records(num_records: int) -> int:
    """Return the records of a table: a pool makes 64 tables or more, of 1,000 to 10,000 each.

    A table is the work of one task, and what a killed run loses of it.
    """
    return min(max(-(-num_records // _TABLES), _FEWEST), _MOST)


def read_source(
    source: Source, *, folder: Path, max_characters: int, num_sources: int = 1
) -> SourceReport:
    """Read one source into tables, or return what was read from it before.

    Args:
        source: The source.
        folder: Where its tables go.
        max_characters: The longest caption.
        num_sources: How many there are; the pool is taken to be as many times as large.

    Raises:
        ConfigError: If it changed since it was read whole.
    """
    marker = folder / "sources" / f"{source.name}.json"
    digest = source.fingerprint()
    if marker.exists():
        stored = _stored(marker)
        if stored.fingerprint == digest:
            return stored
        if stored.complete:
            raise ConfigError(
                f"{source.data} changed since {folder} was made from it: fingerprint "
                f"{stored.fingerprint[:12]} -> {digest[:12] or 'missing'}. "
                "Use another `output`, or bring the old file back."
            )
    report = _Reading(source, digest, folder, max_characters).run(num_sources)
    write_json(marker, asdict(report))
    return report


class _Reading:
    """One pass over a source."""

    def __init__(self, source: Source, digest: str, folder: Path, max_characters: int) -> None:
        self._source, self._digest, self._folder = source, digest, folder
        self._max_characters = max_characters
        self._reasons: dict[str, int] = {}
        self._found = 0

    def run(self, num_sources: int) -> SourceReport:
        skips: list[Skip] = []
        whole = True
        try:
            pairs = read_pairs(self._source.data, on_skip=skips.append)
        except DataError as error:
            pairs = []
            if not skips:
                skips.append(Skip(self._source.data, str(error)))
        records = [skip for skip in skips if skip.path != self._source.data]
        whole = len(records) == len(skips)
        for skip in records:
            self._drop(_category(skip.reason))
        tables = list(self._write(pairs, table_records(len(pairs) * num_sources)))
        listed = [skip for skip in skips if skip.path == self._source.data]
        listed += records[:_MAX_LISTED]
        return SourceReport(
            data=self._source.data,
            fingerprint=self._digest,
            tables=tuple(tables),
            n_in=self._found,
            n_out=self._found - sum(self._reasons.values()),
            num_pictures=len(pairs),
            reasons=self._reasons,
            complete=whole,
            skipped=tuple({"path": skip.path, "reason": skip.reason} for skip in listed),
        )

    def _drop(self, reason: str) -> None:
        self._found += 1
        self._reasons[reason] = self._reasons.get(reason, 0) + 1

    def _write(self, pairs: Sequence[Pair], records: int) -> Iterator[str]:
        iterator = iter(pairs)
        number = 0
        while batch := list(islice(iterator, records)):
            name = self._source.name if number == 0 else f"{self._source.name}-{number:05d}"
            write_table(self._folder / f"{name}.parquet", self._columns(batch))
            yield name
            number += 1

    def _columns(self, pairs: Sequence[Pair]) -> dict[str, Any]:
        rows = [
            (record_key(pair), index, caption, picture)
            for picture, pair in enumerate(pairs)
            for index, caption in self._usable(pair.captions)
        ]
        images = [pairs[row[3]].image for row in rows]
        return {
            "pair_id": np.array([pair_id(row[0], row[1]) for row in rows], dtype=np.uint64),
            "key": [row[0] for row in rows],
            "caption_index": np.array([row[1] for row in rows], dtype=np.int32),
            "caption": [row[2] for row in rows],
            "picture": np.array([row[3] for row in rows], dtype=np.int32),
            "path": [image.path for image in images],
            "offset": np.array([_offset(image.offset) for image in images], dtype=np.int64),
            "size": np.array([image.size for image in images], dtype=np.int64),
            "member": [image.member for image in images],
        }

    def _usable(self, captions: Sequence[str]) -> Iterator[tuple[int, str]]:
        seen: set[str] = set()
        for index, caption in enumerate(captions):
            if len(caption) > self._max_characters:
                self._drop(f"longer than {self._max_characters} characters")
            elif caption in seen:
                self._drop("duplicate caption of its picture")
            elif any("\ud800" <= character <= "\udfff" for character in caption):
                self._drop("not valid Unicode")
            else:
                self._found += 1
                seen.add(caption)
                yield index, caption


def _files(data: str, missing: list[Skip]) -> list[str]:
    tars = find_tars(data, missing.append)
    if tars:
        return [str(tar) for tar in tars]
    if Path(data).is_dir() or ".json#" in data or data.endswith(".json"):
        return [data]
    return [str(path) for path in expand(data, missing.append)]


def _stored(marker: Path) -> SourceReport:
    content = read_json(marker)
    content["tables"] = tuple(content["tables"])
    content["skipped"] = tuple(content["skipped"])
    return SourceReport(**content)


def _category(reason: str) -> str:
    for words, category in (
        ("UTF-8", "not valid UTF-8"),
        ("has no caption", "empty or no caption"),
        ("has no picture", "no picture"),
        ("came before", "duplicate id"),
        ("file twice", "duplicate id"),
        ("no path", "missing id"),
    ):
        if words in reason:
            return category
    return "unreadable record"


def _offset(offset: int | None) -> int:
    return -1 if offset is None else offset


def fingerprint(path: Path) -> str:
    """Return a digest of a file or a folder.

    Up to 64 MiB the whole file counts; beyond, its size, its time of change and 16 pieces; of a
    folder, the names, sizes and times of change of all files in it.
    """
    if path.is_dir():
        return _of_folder(path)
    stat = path.stat()
    if stat.st_size <= _WHOLE_BYTES:
        return sha256_file(path)
    return hashlib.sha256(f"{sampled_sha256(path)} {stat.st_mtime_ns}".encode()).hexdigest()


def _of_folder(folder: Path) -> str:
    digest = hashlib.sha256()
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(root) / name
            stat = path.stat()
            line = f"{path.relative_to(folder)}\0{stat.st_size}\0{stat.st_mtime_ns}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
