"""What an evaluation has done so far, on disk: one row a picture, so a killed run goes on.

``image_features`` is the pass over the pictures of a data set that keeps its features there.
"""

import hashlib
import json
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dinotxt.config import differences
from dinotxt.data.pictures import ImageSource
from dinotxt.errors import ConfigError, DataError
from dinotxt.evaluation.job import Job
from dinotxt.files import atomic_path, read_json, write_json
from dinotxt.inference.decoding import EncodedImages

_MANIFEST = "evaluation.json"
_SECONDS = 20.0
_BYTES = 1 << 26
Rows = tuple[NDArray[np.int64], NDArray[Any]]


class Ledger:
    """Rows of numbers by the position of their picture, in files that are whole or absent.

    Args:
        folder: Where they are kept; None keeps nothing.
        identity: All that the rows depend on.

    Raises:
        ConfigError: If the folder holds the rows of another evaluation; what differs is named.
    """

    def __init__(self, folder: str | Path | None, identity: Mapping[str, Any]) -> None:
        self._folder = None if folder is None else Path(folder)
        self._pending: list[Rows] = []
        self._saved = time.monotonic()
        self._count = 0
        if self._folder is not None:
            self._open(self._folder, identity)

    def rows(self) -> Iterator[Rows]:
        """Yield (positions, rows) of what is kept, piece by piece.

        Raises:
            DataError: If a piece is damaged.
        """
        for path in self._pieces():
            try:
                with np.load(path, allow_pickle=False) as piece:
                    yield piece["positions"], piece["rows"]
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
                raise DataError(f"{path} is damaged ({error}): delete it.") from error

    def add(self, positions: NDArray[np.int64], rows: NDArray[Any]) -> None:
        """Keep rows; they are on the disk within some seconds."""
        if self._folder is None:
            return
        self._pending.append((positions, rows))
        size = sum(part.nbytes for _, part in self._pending)
        if size >= _BYTES or time.monotonic() - self._saved >= _SECONDS:
            self.save()

    def save(self) -> None:
        """Write what is not yet on the disk."""
        if self._folder is None or not self._pending:
            return
        positions, rows = (np.concatenate(parts) for parts in zip(*self._pending, strict=True))
        path = self._folder / f"piece-{self._count:06d}.npz"
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            np.savez(stream, positions=positions, rows=rows)
        self._count += 1
        self._pending = []
        self._saved = time.monotonic()

    def _pieces(self) -> list[Path]:
        return [] if self._folder is None else sorted(self._folder.glob("piece-*.npz"))

    def _open(self, folder: Path, identity: Mapping[str, Any]) -> None:
        manifest = folder / _MANIFEST
        if manifest.is_file():
            changed = differences(read_json(manifest), json.loads(json.dumps(identity)))
            if changed:
                raise ConfigError(
                    f"{folder} holds another evaluation; choose another folder or delete it:\n"
                    + "\n".join(changed)
                )
        elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(f"{folder} is no folder of an evaluation and not empty: choose one.")
        else:
            write_json(manifest, identity)
        pieces = self._pieces()
        self._count = 1 + int(pieces[-1].stem.partition("-")[2]) if pieces else 0


def fingerprint(keys: Iterable[str]) -> str:
    """Return the SHA-256 of a list of texts, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for key in keys:
        digest.update(key.encode("utf-8", "surrogateescape") + b"\0")
    return digest.hexdigest()


def missing(done: Sequence[bool] | NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the positions that are not done."""
    return np.flatnonzero(~np.asarray(done, dtype=bool))


class Keyed(Protocol):
    """A picture with a key."""

    @property
    def key(self) -> str:
        """A name that no other picture of the data has."""

    @property
    def image(self) -> ImageSource:
        """Where the picture lies."""


def image_features(job: Job, items: Sequence[Keyed]) -> Iterator[EncodedImages]:
    """Yield the features of the pictures, each once, first those of an earlier run.

    Pictures that cannot be used are reported and left out. With ``resume`` the features are kept
    in that folder, so that other classes or templates cost no second pass.

    Raises:
        ConfigError: If the folder of ``resume`` belongs to another evaluation.
        DataError: If a picture cannot be used and nobody is to be told.
    """
    identity = {
        "rows": "image features",
        "model": job.encoder.fingerprint,
        "transform": job.encoder.transform.fingerprint,
        "pictures": fingerprint(item.key for item in items),
    }
    ledger = Ledger(job.options.resume, identity)
    done = np.zeros(len(items), dtype=bool)
    for positions, rows in ledger.rows():
        done[positions] = True
        job.progress(int(done.sum()), len(items))
        yield EncodedImages(positions, rows)
    left = missing(done)
    kept = len(items) - len(left)
    try:
        for batch in job.encoder.stream_images(
            (items[position].image for position in left),
            batch_size=job.options.batch_size or 32,
            num_workers=job.options.num_workers,
            on_skip=job.skip,
        ):
            positions = left[batch.indices]
            ledger.add(positions, batch.features)
            yield EncodedImages(positions, batch.features)
            job.progress(kept + int(batch.indices[-1]) + 1, len(items))
    finally:
        ledger.save()
