"""The folder of an index: a manifest that names what counts, and segments.

A finished index is one segment, the *base*, sorted by path. While pictures are being added, the
new ones lie in small *pieces* beside it. Every file is written under a new name and the manifest
is then replaced atomically, so that whatever happens in between, the folder holds the last
committed state; searches see the base until an update is finished.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import NonNegativeInt, PositiveInt

from dinotxt.config import configuration, load_config
from dinotxt.errors import ConfigError, DataError
from dinotxt.files import (
    read_json,
    remove_unfinished,
    sampled_sha256,
    sha256_file,
    write_json,
)
from dinotxt.inference.encoder import Encoder
from dinotxt.search.engines import ApproximateEngine, Engine
from dinotxt.search.store.segment import Segment, remove_segment, segment_files

MANIFEST = "manifest.json"
_FINITE_ROWS = 1 << 16


@configuration
class Approximation:
    """An approximate index over the vectors of some base; the newest base has a map of its ids.

    Attributes:
        engine: Of what kind.
        number: Counts the approximate indices made so far.
        size: How many vectors it holds.
    """

    engine: ApproximateEngine
    number: PositiveInt
    size: NonNegativeInt


@configuration
class FileCheck:
    """What a file was when it was written.

    Attributes:
        sha256: Of all of it.
        sample: Of its size and 16 pieces of it; see ``files.sampled_sha256``.
    """

    sha256: str
    sample: str


@configuration
class Manifest:
    """What an index was made with and which of its files count.

    Attributes:
        format: The version of this layout.
        root: The indexed folder, absolute.
        model: The name of the model.
        fingerprint: Of the model's weights.
        transform: Fingerprint of the picture transform.
        size: Side of the model's input, in pixels.
        dim: Width of the vectors.
        generation: The number of the base; 0 before the first one is finished.
        num_pieces: How many pieces of an unfinished update are committed.
        engine: How it should be searched; auto decides by its size.
        thumbnails: The long side of the small copies that are kept; 0 for none.
        approximation: What is searched instead of every vector, if anything.
        mounts: Folders, relative to the root, that were on a disk of their own.
        files: The checks of the files that count, by name; older indexes have none.
    """

    format: Literal[1] = 1
    root: str
    model: str
    fingerprint: str
    transform: str
    size: PositiveInt
    dim: PositiveInt
    generation: NonNegativeInt = 0
    num_pieces: NonNegativeInt = 0
    engine: Engine = "auto"
    thumbnails: NonNegativeInt = 0
    approximation: Approximation | None = None
    mounts: tuple[str, ...] = ()
    files: dict[str, FileCheck] = field(default_factory=dict)

    @property
    def base(self) -> str:
        """Return the name of the base segment."""
        return f"base-{self.generation:06d}"


class Store:
    """An index folder with its manifest."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @classmethod
    def open(cls, folder: Path) -> "Store":
        """Open an existing index.

        Raises:
            DataError: If there is none or its manifest cannot be understood.
        """
        if not (folder / MANIFEST).is_file():
            raise DataError(
                f"{folder} is not an index: make one with `dinotxt index FOLDER --out {folder}`."
            )
        try:
            return cls(folder, load_config(Manifest, read_json(folder / MANIFEST)))
        except ConfigError as error:
            raise DataError(
                f"{folder / MANIFEST} is damaged or of a newer dinotxt: delete {folder} and index "
                "again."
            ) from error

    @classmethod
    def create(cls, folder: Path, manifest: Manifest) -> "Store":
        """Start an index in an empty folder, which must exist."""
        write_json(folder / MANIFEST, asdict(manifest))
        return cls(folder, manifest)

    def base(self) -> Segment | None:
        """Open the finished state; None before the first one."""
        return self.segment(self.manifest.base) if self.manifest.generation else None

    def segment(self, name: str) -> Segment:
        """Open a segment that counts.

        Raises:
            DataError: If a file of it is missing or damaged.
        """
        self.look_at(segment_files(name))
        segment = Segment.open(self.folder, name, self.manifest.dim)
        if not self.manifest.files:  # of an index that has no checks
            segment.check_finite(_FINITE_ROWS)
        return segment

    def pieces(self) -> list[str]:
        """Return the names of the committed pieces."""
        return [_piece(number) for number in range(self.manifest.num_pieces)]

    @property
    def next_piece(self) -> str:
        """Return the name under which the next piece must be written."""
        return _piece(self.manifest.num_pieces)

    @property
    def next_base(self) -> str:
        """Return the name under which the next base must be written."""
        return replace(self.manifest, generation=self.manifest.generation + 1).base

    def commit_piece(self) -> None:
        """Make the written ``next_piece`` count."""
        files = {**self.manifest.files, **self._checks(segment_files(self.next_piece))}
        self._commit(num_pieces=self.manifest.num_pieces + 1, files=files)

    def commit_base(self) -> None:
        """Make the written ``next_base`` count in place of the old base and the pieces."""
        made, kept = segment_files(self.next_base), self.manifest.approximation
        files = {}
        if kept is not None:
            made = [*made, self.places_path(kept.number, self.next_base).name]
            graph = self.approximate_path(kept.number).name
            files = {name: c for name, c in self.manifest.files.items() if name == graph}
        files.update(self._checks(made))
        self._commit(generation=self.manifest.generation + 1, num_pieces=0, files=files)
        self.clean()

    def commit_approximation(self, approximation: Approximation | None) -> None:
        """Make a written approximate index and its map count, or drop the one there was."""
        base = segment_files(self.manifest.base)
        files = {name: check for name, check in self.manifest.files.items() if name in base}
        if approximation is not None:
            number = approximation.number
            made = (self.approximate_path(number), self.places_path(number, self.manifest.base))
            files.update(self._checks(path.name for path in made))
        self._commit(approximation=approximation, files=files)
        self.clean()

    def approximate_path(self, number: int) -> Path:
        """Return the file of an approximate index."""
        return self.folder / f"approximate-{number:06d}.faiss"

    def places_path(self, number: int, base: str) -> Path:
        """Return the map from the ids of an approximate index to the rows of a base."""
        return self.folder / f"approximate-{number:06d}-{base}.npy"

    def look_at(self, names: Iterable[str]) -> None:
        """Check the size and a sample of files, of which the manifest knows what they were.

        Raises:
            DataError: If one is missing or another than was written.
        """
        for name in names:
            check = self.manifest.files.get(name)
            if check is not None:
                self._hold(name, check.sample, sampled_sha256)

    def verify(self) -> Iterator[tuple[str, str]]:
        """Check all files whole; yield the name of each and what is wrong with it, or nothing."""
        for name, check in sorted(self.manifest.files.items()):
            try:
                self._hold(name, check.sha256, sha256_file)
            except DataError as error:
                yield name, str(error)
            else:
                yield name, ""

    def _hold(self, name: str, expected: str, digest: Callable[[Path], str]) -> None:
        try:
            found = digest(self.folder / name)
        except OSError as error:
            found = f"it cannot be read: {error.strerror or error}"
        else:
            found = "" if found == expected else "it is not what was written"
        if found:
            place = self.folder / name
            raise DataError(f"{place} is damaged ({found}): delete {self.folder}, index again.")

    def _checks(self, names: Iterable[str]) -> dict[str, FileCheck]:
        return {
            name: FileCheck(
                sha256=sha256_file(self.folder / name), sample=sampled_sha256(self.folder / name)
            )
            for name in names
        }

    def remember(self, mounts: tuple[str, ...]) -> None:
        """Record which folders were on a disk of their own."""
        if mounts != self.manifest.mounts:
            self._commit(mounts=mounts)

    def move(self, root: Path) -> None:
        """Record that the indexed folder is at another place now."""
        self._commit(root=str(root))

    def set_up(self, *, engine: Engine | None, thumbnails: int | None) -> None:
        """Record how it should be searched and what small copies it keeps; None changes nothing."""
        asked = {"engine": engine, "thumbnails": thumbnails}
        now = asdict(self.manifest)
        changes = {k: v for k, v in asked.items() if v is not None and v != now[k]}
        if changes:
            self._commit(**changes)

    def clean(self) -> None:
        """Delete what a stopped run left behind."""
        remove_unfinished(self.folder)
        named = {self.manifest.base, *self.pieces(), *self._approximate_names()}
        for path in self.folder.iterdir():
            name = path.name.split(".")[0]
            if name.startswith("approximate-") and name not in named:
                path.unlink(missing_ok=True)
            elif re.fullmatch(r"(base|piece)-\d{6,}", name) and name not in named:
                remove_segment(self.folder, name)

    def _approximate_names(self) -> list[str]:
        kept = self.manifest.approximation
        if kept is None:
            return []
        files = (
            self.approximate_path(kept.number),
            self.places_path(kept.number, self.manifest.base),
        )
        return [path.stem for path in files]

    def _commit(self, **changes: Any) -> None:
        self.manifest = replace(self.manifest, **changes)
        write_json(self.folder / MANIFEST, asdict(self.manifest))


def recorded_model(folder: Path) -> tuple[str, int] | None:
    """Return the model's name and input size of an index; None if there is no index yet."""
    if not (folder / MANIFEST).is_file():
        return None
    manifest = Store.open(folder).manifest
    return manifest.model, manifest.size


def _piece(number: int) -> str:
    return f"piece-{number:06d}"


def prepare(target: Path, root: Path, encoder: Encoder) -> Store:
    """Open an index, which the caller has locked, or start it.

    Raises:
        DataError: If it is another model's, another folder's or not of this input size.
    """
    if not (target / MANIFEST).exists():
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
    check_model(store, encoder)
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


def check_model(store: Store, encoder: Encoder) -> None:
    """Refuse an index that another model made.

    Raises:
        DataError: If the weights are not the same.
    """
    manifest = store.manifest
    if manifest.fingerprint != encoder.fingerprint:
        raise DataError(
            f"{store.folder} was made with the model {manifest.model} "
            f"({manifest.fingerprint[:12]}), not with {encoder.name} "
            f"({encoder.fingerprint[:12]}): use the same model, or make another index."
        )
