"""Search your own pictures by words, or by a picture: build, update, open, search."""

import logging
from collections.abc import Callable
from pathlib import Path

from dinotxt.data.image import ImageSource
from dinotxt.errors import BackendError, ConfigError, DataError
from dinotxt.inference.encoder import Encoder, unit
from dinotxt.results.hit import Hit
from dinotxt.results.skip import Skip
from dinotxt.search.exact import ExactIndex, Index, Vectors
from dinotxt.search.lock import locked
from dinotxt.search.scan import printable, scan
from dinotxt.search.segment import Segment
from dinotxt.search.store import Manifest, Store
from dinotxt.search.update import Changes, Update, Work

logger = logging.getLogger(__name__)

COMMIT_SECONDS = 5.0


class ImageIndex:
    """The vectors of a folder's pictures, on disk, searched exactly.

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
        self._segment = segment
        self._encoder = encoder
        self._index: Index = ExactIndex(segment.vectors)

    @classmethod
    def build(
        cls,
        encoder: Encoder,
        folder: str | Path,
        path: str | Path,
        *,
        batch_size: int = 32,
        num_workers: int | None = None,
        progress: Callable[[int, int], None] | None = None,
        on_skip: Callable[[Skip], None] | None = None,
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
            progress: Called with the numbers of pictures done and to do.
            on_skip: Called with each picture that cannot be used; by default they are logged.
                All are listed in ``skipped``, too.

        Raises:
            DataError: If there are no pictures, the index is another model's or another
                folder's, or another process is writing to it.
        """
        root = Path(folder).resolve()
        unlisted: list[str] = []
        report = on_skip or _log

        def on_scan_skip(skip: Skip) -> None:
            if skip.path.endswith("/"):
                unlisted.append(skip.path)
            report(Skip(printable(root / skip.path), skip.reason))

        entries = list(scan(root, on_skip=on_scan_skip))
        if not entries:
            raise DataError(f"{folder} holds no pictures: give a folder with some.")
        work = Work(
            load=encoder.transform.load,
            encode=lambda pixels: unit(encoder.towers.encode_image(pixels)),
            batch_size=batch_size,
            num_workers=num_workers,
            commit_seconds=COMMIT_SECONDS,
            progress=progress or _no_progress,
            on_skip=report,
        )
        target = Path(path)
        try:
            target.mkdir(parents=True, exist_ok=True)
            with locked(target):
                store = _prepare(target, root, encoder)
                changes = Update(store, work).run(entries, unlisted)
        except OSError as error:
            raise BackendError(f"{path} cannot be written ({error}): make room there.") from error
        index = cls.open(path, encoder=encoder)
        index.changes = changes
        return index

    @classmethod
    def open(cls, path: str | Path, *, encoder: Encoder) -> "ImageIndex":
        """Open a finished index.

        Args:
            path: The folder of the index.
            encoder: The model that it was made with.

        Raises:
            DataError: If there is none, it is unfinished, or another model made it.
        """
        store = Store.open(Path(path))
        _check_model(store, encoder)
        segment = store.base()
        if segment is None:
            raise DataError(f"{path} is unfinished: run `dinotxt index` again, it will go on.")
        return cls(store, segment, encoder)

    def __len__(self) -> int:
        return len(self._index)

    def search(
        self, words: str | None = None, *, image: ImageSource | None = None, k: int = 5
    ) -> list[Hit]:
        """Return the ``k`` pictures that fit best, the best first.

        Args:
            words: What the picture should show.
            image: Or a picture that they should resemble.
            k: How many; all where the index holds fewer.

        Raises:
            ConfigError: If not exactly one of words and image is given, or k is not positive.
            DataError: If the picture cannot be read.
        """
        if (words is None) == (image is None) or (words is not None and not words.strip()):
            raise ConfigError("Search either by words or by a picture.")
        if k < 1:
            raise ConfigError(f"k must be at least 1, not {k}.")
        if words is not None:
            query = self._encoder.encode_text([words])
        else:
            assert image is not None
            query = self._encoder.encode_image([image])
        return self.search_vectors(query, k=k)[0]

    def search_vectors(self, queries: Vectors, *, k: int = 5) -> list[list[Hit]]:
        """Return the ``k`` best pictures for each row of ``float32 [Q, E]``, normalised."""
        scores, rows = self._index.search(queries, k)
        return [
            [
                Hit(float(score), str(self.root / self._segment.record(int(row)).path))
                for score, row in zip(*found, strict=True)
            ]
            for found in zip(scores, rows, strict=True)
        ]


def _prepare(target: Path, root: Path, encoder: Encoder) -> Store:
    """Open the index for writing, or start it."""
    if not (target / "manifest.json").exists():
        return Store.create(
            target,
            Manifest(
                root=str(root),
                model=encoder.name,
                fingerprint=encoder.fingerprint,
                size=encoder.transform.config.size,
                transform=encoder.transform.fingerprint,
                dim=encoder.towers.embed_dim,
            ),
        )
    store = Store.open(target)
    _check_model(store, encoder)
    if store.manifest.transform != encoder.transform.fingerprint:
        message = "was made with another input size or transform: use that one, or another --out"
        raise DataError(f"{target} {message}.")
    if store.manifest.root != str(root):
        if Path(store.manifest.root).is_dir():
            raise DataError(
                f"{target} is the index of {store.manifest.root}, not of {root}: "
                "give another --out."
            )
        store.move(root)
    store.clean()
    return store


def _check_model(store: Store, encoder: Encoder) -> None:
    manifest = store.manifest
    if manifest.fingerprint != encoder.fingerprint:
        raise DataError(
            f"{store.folder} was made with the model {manifest.model} "
            f"({manifest.fingerprint[:12]}), not with {encoder.name} "
            f"({encoder.fingerprint[:12]}): use the same model, or make another index."
        )


def _log(skip: Skip) -> None:
    logger.warning("skipped %s: %s", skip.path, skip.reason)


def _no_progress(done: int, total: int) -> None:
    del done, total
