"""Search your own pictures by words, or by a picture: build, update, open, search."""

import logging
from bisect import bisect_left
from dataclasses import dataclass, replace
from pathlib import Path

from dinotxt.data.pictures import ImageSource, printable, scan, sort_key
from dinotxt.errors import BackendError, ConfigError, DataError
from dinotxt.files import check_own_folder, one_writer
from dinotxt.inference.encoder import Encoder
from dinotxt.inference.features import Features, unit
from dinotxt.results.hit import Hit
from dinotxt.results.skip import OnSkip, Progress, Skip
from dinotxt.search.engines import Engine, Vectors
from dinotxt.search.store import (
    MANIFEST,
    Record,
    Segment,
    Store,
    Thumbnails,
    check_model,
    open_index,
    prepare,
    safe_state,
    small_copy,
)
from dinotxt.search.update import Changes, Update, Work
from dinotxt.search.where import Filter, matching_rows

logger = logging.getLogger(__name__)

COMMIT_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSettings:
    """How an index is searched and what it keeps; it remembers them, and None changes nothing.

    Attributes:
        engine: exact; hnsw or ivf-pq (extra ``faiss``); auto chooses by the number of pictures:
            exact up to 500,000, hnsw up to 5,000,000, then ivf-pq. Below 1,000 it is exact.
        thumbnails: The long side of the small copies to keep, in pixels; 0 for none.
    """

    engine: Engine | None = None
    thumbnails: int | None = None


_AS_THEY_ARE = IndexSettings()


class ImageIndex:
    """The vectors of a folder's pictures, on disk, searched exactly unless there are very many.

    Make one with ``ImageIndex.build`` or ``ImageIndex.open``; ``len`` is the number of pictures.

    Attributes:
        path: The folder of the index.
        root: The indexed folder.
        changes: What the update that built it added, changed and deleted.
        skipped: Pictures that could not be read, each with its reason.
    """

    def __init__(self, store: Store, segment: Segment, encoder: Encoder) -> None:
        self.path = store.folder
        self.root = Path(store.manifest.root)
        self.changes = Changes()
        self.skipped = tuple(
            Skip(printable(self.root / record.path), record.reason)
            for record in segment.unreadable()
        )
        self._manifest = store.manifest
        self._segment = segment
        self._encoder = encoder
        self._index = open_index(store, segment)
        side = store.manifest.thumbnails
        self._thumbnails = Thumbnails(store.folder, side) if side else None

    @property
    def name(self) -> str:
        """What a person calls it."""
        return self.path.name

    @property
    def engine(self) -> str:
        """How it is searched: exact, hnsw or ivf-pq."""
        return self._index.engine

    @classmethod
    def build(
        cls,
        encoder: Encoder,
        folder: str | Path,
        path: str | Path,
        *,
        batch_size: int = 32,
        num_workers: int | None = None,
        settings: IndexSettings = _AS_THEY_ARE,
        progress: Progress | None = None,
        on_skip: OnSkip | None = None,
    ) -> "ImageIndex":
        """Index the pictures under a folder, or bring an existing index up to date.

        Unchanged pictures (same size and time, or else the same content) are not encoded again;
        unreadable ones are not tried again until they change. The work is made safe every few
        seconds: after a crash the same call goes on and ends with the same index.

        Args:
            encoder: The model; an index keeps to one.
            folder: The pictures, in any depth.
            path: The folder of the index.
            batch_size: Pictures a forward pass.
            num_workers: Threads that read and decode (default: one a core, at most 8).
            settings: How it is searched, and whether small copies are kept.
            progress: Called with the numbers of pictures done and to do, then with those of
                vectors where faiss is at work.
            on_skip: Called with each picture that cannot be used; by default they are logged.
                All are listed in ``skipped``, too.

        Raises:
            DataError: If there are no pictures, the index is another model's or another
                folder's, or another process is writing to it.
            BackendError: If the index cannot be written, such as on a full disk, or faiss is
                needed and missing.
        """
        root = Path(folder).resolve()
        unlisted: list[str] = []
        report = on_skip or _log

        def on_scan_skip(skip: Skip) -> None:
            unlisted.append(skip.path)
            report(Skip(printable(root / skip.path), skip.reason))

        target = Path(path)
        own = f"{target.resolve()}/"  # an index may lie in the folder that it is of
        entries = [
            entry
            for entry in scan(root, on_skip=on_scan_skip)
            if not f"{root}/{entry.path}".startswith(own)
        ]
        if not entries:
            raise DataError(f"{folder} holds no pictures: give a folder with some.")
        work = Work(
            open=encoder.transform.open,
            transform=encoder.transform,
            encode=lambda pixels: unit(encoder.encode_pixels(pixels)),
            batch_size=batch_size,
            num_workers=num_workers,
            commit_seconds=COMMIT_SECONDS,
            progress=progress or _no_progress,
            on_skip=report,
        )
        try:
            check_own_folder(target, MANIFEST)
            with one_writer(target, "index"):
                store = prepare(target, root, encoder)
                store.set_up(engine=settings.engine, thumbnails=settings.thumbnails)
                changes = Update(store, work).run(entries, unlisted)
        except OSError as error:
            raise BackendError(f"{path} cannot be written ({error}): make room there.") from error
        index = cls.open(path, encoder=encoder)
        index.changes = changes
        return index

    @classmethod
    def open(cls, path: str | Path, encoder: Encoder) -> "ImageIndex":
        """Open an index; of a first one that is unfinished, what is safe so far, with a warning.

        Args:
            path: The folder of the index.
            encoder: The model that it was made with.

        Raises:
            DataError: If there is none, it is damaged or holds nothing yet, or another model made
                it.
        """
        store = Store.open(Path(path))
        check_model(store, encoder)
        try:
            segment = safe_state(store)
        except DataError:
            if Store.open(store.folder).manifest == store.manifest:
                raise
            return cls.open(path, encoder)  # an update has replaced it in between
        if segment is None:
            raise DataError(f"{path} is unfinished: run `dinotxt index` again, it will go on.")
        if not store.manifest.generation:
            logger.warning(
                "%s is unfinished: only its first %d pictures are searched; run `dinotxt index` "
                "again, it will go on.",
                path,
                len(segment),
            )
        return cls(store, segment, encoder)

    def __len__(self) -> int:
        return len(self._index)

    def search(
        self,
        words: str | None = None,
        *,
        image: ImageSource | None = None,
        k: int = 5,
        where: Filter | None = None,
    ) -> list[Hit]:
        """Return the ``k`` pictures that fit best, the best first.

        Args:
            words: What the picture should show.
            image: Or a picture that they should resemble.
            k: How many; all where the index holds fewer.
            where: Only pictures of these folders and dates.

        Raises:
            ConfigError: If not exactly one of words and image is given, k is not positive, or a
                folder of the filter is not in the index.
            DataError: If the picture cannot be read.
        """
        query = encode_query(self._encoder, words, image, k)
        return self.search_vectors(query, k=k, where=where)[0]

    def search_vectors(
        self, queries: Vectors, *, k: int = 5, where: Filter | None = None
    ) -> list[list[Hit]]:
        """Return the ``k`` best pictures for each row of ``float32 [Q, E]``, normalised."""
        among = matching_rows(self._segment, self.root, where) if where else None
        scores, rows = self._index.search(queries, k, among=among)
        return [
            [
                Hit(float(score), str(self.root / self._segment.record(int(row)).path))
                for score, row in zip(*found, strict=True)
            ]
            for found in zip(scores, rows, strict=True)
        ]

    def current(self) -> "ImageIndex":
        """Return this index, or the newer state that an update has finished in the meantime."""
        try:
            store = Store.open(self.path)
            known, now = self._manifest, store.manifest
            if known.generation:  # what an unfinished update has written does not count yet
                now = replace(now, num_pieces=known.num_pieces, files=known.files)
            if now == known:
                return self
            return ImageIndex.open(self.path, encoder=self._encoder)
        except DataError:  # it is being replaced, or is no longer there
            return self

    def shown(self, path: str) -> str:
        """Return a hit's path within the indexed folder, as valid text."""
        inside = Path(path)
        return printable(inside.relative_to(self.root).as_posix())

    def thumbnail(self, path: str | Path, side: int) -> bytes:
        """Return a JPEG of a picture whose long side is at most ``side``.

        It is the stored small copy where the index keeps one that is large enough.

        Args:
            path: A hit's path.
            side: In pixels.

        Raises:
            DataError: If the picture cannot be read.
        """
        content = None
        if self._thumbnails is not None and side <= self._thumbnails.side:
            record = self._find(Path(path))
            content = self._thumbnails.get(record.sha256) if record else None
        return content or small_copy(path, side)

    def _find(self, path: Path) -> Record | None:
        """Return what is known of a picture, by bisection."""
        if not path.is_relative_to(self.root):
            return None
        relative = path.relative_to(self.root).as_posix()
        rows = range(len(self._segment))
        row = bisect_left(
            rows, sort_key(relative), key=lambda row: sort_key(self._segment.record(row).path)
        )
        record = self._segment.record(row) if row < len(rows) else None
        return record if record and record.path == relative else None


def _log(skip: Skip) -> None:
    logger.warning("skipped %s: %s", skip.path, skip.reason)


def _no_progress(done: int, total: int) -> None:
    del done, total


def encode_query(
    encoder: Encoder, words: str | None, image: ImageSource | None, k: int
) -> Features:
    """Return the vector of words or of a picture, ``float32 [1, E]``, of length 1.

    Raises:
        ConfigError: If not exactly one of words and image is given, or ``k`` is not positive.
        DataError: If the picture cannot be read.
    """
    if (words is None) == (image is None):
        raise ConfigError("Search either by words or by a picture.")
    if words is not None and not words.strip():
        raise ConfigError("The words to search for are empty: say what the picture shows.")
    if k < 1:
        raise ConfigError(f"k must be at least 1, not {k}.")
    if words is not None:
        return encoder.encode_text([words])
    assert image is not None
    return encoder.encode_image([image])
