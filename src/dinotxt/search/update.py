"""Bring an index up to date with its folder: read what is new, keep what is not, drop the rest.

New pictures are encoded in sorted order, in batches of fixed size, and committed as pieces every
few seconds. A killed run goes on behind the last committed piece with the same batches, so that
its vectors are those of an uninterrupted one. At the end base and pieces are merged.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dinotxt.data.pictures import Entry, ImageSource, Limits, Picture, printable, sort_key
from dinotxt.data.prefetch import prefetch
from dinotxt.errors import DataError
from dinotxt.files import sha256_file
from dinotxt.inference.decoding import PixelBatch, pixel_batches
from dinotxt.results.skip import OnSkip, Progress, Skip
from dinotxt.search.dates import date_taken
from dinotxt.search.engines import Vectors
from dinotxt.search.store import (
    Record,
    Store,
    Table,
    Thumbnails,
    carry_over,
    refresh,
    remove_thumbnails,
    write_segment,
)

Pixels = NDArray[np.float32]

_MAX_BYTES = Limits().max_bytes
_PIECE_ROWS = 4096
_COPIES_AHEAD = 256
_NOT_FINITE = "the model gives no finite vector for it"


class Changes(NamedTuple):
    """How many pictures an update added, changed and deleted."""

    added: int = 0
    changed: int = 0
    deleted: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """How pictures are read and encoded.

    Attributes:
        open: From a file to a decoded picture; raises DataError.
        transform: From a picture to pixels ``[C, H, W]``.
        encode: From pixels ``[N, C, H, W]`` to unit vectors ``[N, E]``.
        batch_size: Pictures a call of ``encode``.
        num_workers: Threads that read; None chooses by the machine.
        commit_seconds: How often finished work is made safe.
        progress: Called with the numbers of pictures done and to do; later with those of vectors,
            where an approximate index is made.
        on_skip: Called with each picture that cannot be used.
    """

    open: Callable[[ImageSource], Picture]
    transform: Callable[[Picture], Pixels]
    encode: Callable[[Pixels], Vectors]
    batch_size: int
    num_workers: int | None
    commit_seconds: float
    progress: Progress
    on_skip: OnSkip


class _Seen(NamedTuple):
    """What reading a file told of it."""

    sha256: str = ""
    taken: str = ""


class _Content:
    """The bytes of a file, read once, with the name that an error should call it."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.content = path.read_bytes()

    def read(self, max_bytes: int | None = None) -> bytes:
        del max_bytes  # the size was looked at before the file was read
        return self.content


class Update:
    """One run over a folder.

    Args:
        store: The index, locked by the caller.
        work: How pictures are read and encoded.
    """

    def __init__(self, store: Store, work: Work) -> None:
        self._store = store
        self._work = work
        self._table = Table(store)
        self._root = Path(store.manifest.root)
        side = store.manifest.thumbnails
        self._thumbnails = Thumbnails(store.folder, side) if side else None
        self._seen: dict[str, _Seen] = {}
        self._records: list[Record] = []
        self._vectors: list[Vectors] = []
        self._committed = time.monotonic()

    def run(self, entries: Sequence[Entry], unlisted: Sequence[str]) -> Changes:
        """Encode new and changed pictures, then merge.

        Args:
            entries: Every picture of the folder, sorted.
            unlisted: Pictures that could not be looked at, and subfolders that could not be
                listed, with a ``/`` at the end; what is known of them is kept, as is that of
                disks that are not mounted.
        """
        unlisted = [*unlisted, *self._unmounted(entries)]
        self._encode([entry for entry in entries if not self._is_known(entry)])
        present = {entry.path for entry in entries}.union(unlisted)
        changes = self._merge(present, tuple(path for path in unlisted if path.endswith("/")))
        self._keep_small_copies()
        refresh(self._store, self._work.progress)
        return changes

    def _unmounted(self, entries: Sequence[Entry]) -> list[str]:
        """Report the folders that were on a disk of their own and are not; remember all of them."""
        mounts = find_mounts(self._root, (entry.path for entry in entries))
        gone = sorted(set(self._store.manifest.mounts) - mounts)
        for folder in gone:
            self._report(folder, "is not mounted: what is known of its pictures is kept")
        self._store.remember(tuple(sorted(mounts.union(gone))))
        return [f"{folder}/" for folder in gone]

    def _is_known(self, entry: Entry) -> bool:
        """Tell whether a file needs no decoding, and report it if it is a bad one."""
        place = self._table.get(entry.path)
        if place is None:
            return False
        if place.record[1:3] != entry[1:3]:
            if not place.record.sha256 or self._digest(entry) != place.record.sha256:
                return False
            # Only touched: the old vector goes into a piece under the new size and time.
            record = place.record._replace(size=entry.size, mtime_ns=entry.mtime_ns)
            vector = None if record.reason else next(self._table.vectors([place]))[0]
            self._put(record, vector)
            self._commit_in_time()
        elif place.record.reason:
            self._report(entry.path, place.record.reason)
        return True

    def _digest(self, entry: Entry) -> str:
        try:
            return sha256_file(self._root / entry.path) if entry.size <= _MAX_BYTES else ""
        except OSError:
            return ""

    def _encode(self, todo: Sequence[Entry]) -> None:
        by_path = {entry.path: entry for entry in todo}
        self._work.progress(0, len(todo))
        batches = pixel_batches(
            todo,
            self._load,
            name=lambda entry: entry.path,
            batch_size=self._work.batch_size,
            num_workers=self._work.num_workers,
            on_skip=lambda skip: self._fail(by_path[skip.path], skip.reason),
        )
        for batch in batches:
            self._take(batch, [todo[index] for index in batch.indices])
            self._work.progress(int(batch.indices[-1]) + 1, len(todo))
            self._commit_in_time()
        self._work.progress(len(todo), len(todo))
        self._commit()

    def _load(self, entry: Entry) -> Pixels:
        """Read, hash and decode one file, in a thread."""
        path = self._root / entry.path
        if entry.size > _MAX_BYTES:
            self._seen[entry.path] = _Seen()
            return self._work.transform(self._work.open(path))  # refuses it
        try:
            source = _Content(path)
        except OSError as error:
            raise DataError(f"cannot be read ({error.strerror or error})") from error
        digest = hashlib.sha256(source.content).hexdigest()
        self._seen[entry.path] = _Seen(digest, date_taken(source.content))
        picture = self._work.open(source)
        if self._thumbnails is not None:
            self._thumbnails.put(digest, lambda: picture)
        return self._work.transform(picture)

    def _fail(self, entry: Entry, reason: str) -> None:
        """Record a bad picture; where the disk failed, not the picture, it is only reported."""
        seen = self._seen.pop(entry.path, None)
        if seen is None:
            self._report(entry.path, reason)
        else:
            self._put(Record(*entry, seen.sha256, reason, seen.taken), None)

    def _take(self, batch: PixelBatch, entries: Sequence[Entry]) -> None:
        """Encode one batch; a picture that makes the model refuse it is found and left out."""
        try:
            vectors = self._work.encode(batch.pixels)
        except DataError as error:
            if len(entries) == 1:
                self._fail(entries[0], str(error))
                return
            for row, entry in enumerate(entries):
                one = slice(row, row + 1)
                self._take(PixelBatch(batch.indices[one], batch.pixels[one]), [entry])
            return
        for entry, vector in zip(entries, vectors, strict=True):
            if np.isfinite(vector).all():
                seen = self._seen.pop(entry.path)
                self._put(Record(*entry, seen.sha256, taken=seen.taken), vector)
            else:
                self._fail(entry, _NOT_FINITE)

    def _put(self, record: Record, vector: Vectors | None) -> None:
        self._records.append(record)
        if vector is None:
            self._report(record.path, record.reason)
        else:
            self._vectors.append(vector)

    def _report(self, path: str, reason: str) -> None:
        self._work.on_skip(Skip(printable(self._root / path), reason))

    def _commit_in_time(self) -> None:
        late = time.monotonic() - self._committed >= self._work.commit_seconds
        if late or len(self._records) >= _PIECE_ROWS:
            self._commit()

    def _commit(self) -> None:
        """Write what is done as a piece."""
        if self._records:
            name, dim = self._store.next_piece, self._store.manifest.dim
            blocks = [vector[None] for vector in self._vectors]
            write_segment(self._store.folder, name, blocks, self._records, dim)
            self._store.commit_piece()
            self._table.add(name)
            self._records, self._vectors = [], []
        self._committed = time.monotonic()

    def _merge(self, present: set[str], unlisted: tuple[str, ...]) -> Changes:
        """Write base and pieces as one sorted segment, without what is no longer there.

        Raises:
            DataError: If what was written before is damaged.
        """
        table, store = self._table, self._store
        live = [path for path in table if path in present or path.startswith(unlisted)]
        before = table.base
        after = {path: table[path].record.sha256 for path in live if table[path].row >= 0}
        if store.manifest.num_pieces or not store.manifest.generation or len(live) < len(table):
            if damaged := [wrong for _, wrong in store.verify() if wrong]:
                raise DataError(damaged[0])
            places = [table[path] for path in sorted(live, key=sort_key)]
            readable = [place for place in places if place.row >= 0]
            blocks = table.vectors(readable)
            records = [place.record for place in places]
            write_segment(store.folder, store.next_base, blocks, records, store.manifest.dim)
            carry_over(store, readable)
            store.commit_base()
        return Changes(
            added=len(after.keys() - before.keys()),
            changed=sum(before[path] != after[path] for path in after.keys() & before.keys()),
            deleted=len(before.keys() - after.keys()),
        )

    def _keep_small_copies(self) -> None:
        """Make those that are missing, of an index that got them later; drop what is left over."""
        base, thumbnails = self._store.base(), self._thumbnails
        assert base is not None
        if thumbnails is None:
            remove_thumbnails(self._store.folder)
            return
        made = prefetch(
            lambda record: thumbnails.put(
                record.sha256, lambda: self._work.open(self._root / record.path)
            ),
            base.records(),
            num_workers=self._work.num_workers,
            ahead=_COPIES_AHEAD,
        )
        for _ in made:
            pass
        thumbnails.sweep({record.sha256 for record in base.records()})


def find_mounts(root: Path, paths: Iterable[str]) -> set[str]:
    """Return the folders of some pictures that are on another disk than the folder above them."""
    folders = {parent for path in paths for parent in PurePosixPath(path).parents}
    return {
        str(folder)
        for folder in folders - {PurePosixPath()}
        if not (root / folder).is_symlink()
        and _device(root / folder) != _device((root / folder).parent)
    }


def _device(folder: Path) -> int:
    try:
        return folder.stat().st_dev
    except OSError:
        return -1
