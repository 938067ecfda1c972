"""A cache of a frozen backbone's tokens: fp16 shards that are mapped into memory, and a manifest.

A folder holds ``manifest.json``, and for each shard ``shard-00000.npy``, float16
``[items, views, tokens, width]``, and ``shard-00000.json``, the keys and captions of its items. So
training on a cache needs neither pictures nor backbone.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dinotxt.errors import DataError
from dinotxt.files import read_json, sha256_file
from dinotxt.results.skip import Skip

FORMAT = "dinotxt-features-1"
MANIFEST = "manifest.json"
_POOLED = ("cls", "avg", "max")
_HEADER_BYTES = 128
_MAX_MAPPED = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSpec:
    """What a cache holds, and what it was made with.

    Attributes:
        tokens: ``all`` (cls, registers, patches) or ``pooled`` (cls, average, maximum).
        width: The width of a token.
        num_registers: Register tokens, for ``all``.
        grid: Rows and columns of patches.
        views: Views of each picture.
        weights_hash: Names the weights of the backbone.
        transform_hash: Names the transform and the views.
        info: Anything else worth keeping, such as the name of the backbone; plain JSON.
    """

    tokens: Literal["all", "pooled"]
    width: int
    num_registers: int
    grid: tuple[int, int]
    views: int = 1
    weights_hash: str
    transform_hash: str
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def num_tokens(self) -> int:
        """Return how many tokens are kept of one view."""
        if self.tokens == "pooled":
            return len(_POOLED)
        return 1 + self.num_registers + self.grid[0] * self.grid[1]

    @property
    def item_bytes(self) -> int:
        """Return the bytes of one picture, all its views."""
        return 2 * self.views * self.num_tokens * self.width

    def shard_shape(self, num_items: int) -> tuple[int, int, int, int]:
        """Return the shape of a shard, ``[items, views, tokens, width]``."""
        return num_items, self.views, self.num_tokens, self.width

    def to_json(self) -> dict[str, Any]:
        """Return the spec as plain JSON."""
        return {**asdict(self), "grid": list(self.grid)}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "StoreSpec":
        """Read what ``to_json`` gave."""
        known = {name.name: content[name.name] for name in fields(cls)}
        return cls(**{**known, "grid": tuple(known["grid"])})

    def check(self, path: str | Path, *, weights_hash: str, transform_hash: str) -> None:
        """Refuse other weights or another transform.

        Raises:
            DataError: If either differs; the message names both sides.
        """
        pairs = (
            ("weights", self.weights_hash, weights_hash),
            ("transform", self.transform_hash, transform_hash),
        )
        wrong = [f"{what} {mine}, not {given}" for what, mine, given in pairs if mine != given]
        if wrong:
            raise DataError(
                f"{path} was made with {' and '.join(wrong)}: cache the features again in another "
                "folder, or use the model that made them."
            )


def plan_bytes(spec: StoreSpec, num_items: int) -> int:
    """Return how many bytes the features of ``num_items`` pictures will take on the disk."""
    return spec.item_bytes * num_items


class FeatureStore:
    """A finished cache, open for reading; any number of processes may read it at once.

    Attributes:
        path: The folder.
        spec: What it holds.
        skipped: The pictures that could not be cached.
    """

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        """Take a checked manifest; use ``FeatureStore.open``."""
        self.path = path
        self.spec = StoreSpec.from_json(manifest["spec"])
        self.skipped = tuple(Skip(**entry) for entry in manifest["skipped"])
        self._counts = [int(count) for count in manifest["shards"]]
        self._hashes: list[str | None] = manifest.get("sha256") or [None] * len(self._counts)
        self._ends = np.cumsum([0, *self._counts])
        # Each map holds a file open, and a process may hold about a thousand.
        self._shard = lru_cache(maxsize=_MAX_MAPPED)(self._map_shard)

    @classmethod
    def open(cls, path: str | Path) -> "FeatureStore":
        """Open a cache; nothing but the manifest is read.

        Raises:
            DataError: If it is missing, unfinished, damaged or of another version.
        """
        folder = Path(path)
        if not (folder / MANIFEST).is_file():
            state = "is not finished" if (folder / "plan.json").is_file() else "is no feature cache"
            raise DataError(f"{folder} {state}: run `dinotxt cache` with --out {folder}.")
        manifest = read_json(folder / MANIFEST)
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            raise DataError(f"{folder / MANIFEST} is not of the format {FORMAT}: cache again.")
        try:
            store = cls(folder, manifest)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{folder / MANIFEST} is damaged ({error!r}): cache again.") from error
        for number, count in enumerate(store._counts):
            if not shard_is_whole(folder, number, store.spec, count):
                raise DataError(f"{shard_path(folder, number)} is missing or torn: cache again.")
        return store

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __reduce__(self) -> tuple[Callable[[Path], "FeatureStore"], tuple[Path]]:
        return FeatureStore.open, (self.path,)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The key of each item."""
        return tuple(record["key"] for record in self._records)

    @cached_property
    def captions(self) -> tuple[tuple[str, ...], ...]:
        """The captions of each item."""
        return tuple(tuple(record["captions"]) for record in self._records)

    def tokens(
        self, indices: ArrayLike, views: ArrayLike = 0, *, dtype: type[np.floating] = np.float32
    ) -> dict[str, NDArray[np.floating]]:
        """Read the tokens of some items, in the order asked for.

        Args:
            indices: Items, ``[B]``.
            views: The view of each, ``[B]``, or one for all.
            dtype: float32, or float16 to leave the conversion to the device.

        Returns:
            ``cls [B, D]``, ``registers [B, R, D]`` and ``patches [B, h*w, D]``; for pooled
            tokens ``cls``, ``avg`` and ``max``, ``[B, D]``.

        Raises:
            IndexError: If an item or a view does not exist.
        """
        items = np.atleast_1d(np.asarray(indices, dtype=np.int64))
        chosen = np.broadcast_to(np.asarray(views, dtype=np.int64), items.shape)
        self._check_range(items, chosen)
        rows = np.empty((len(items), *self.spec.shard_shape(1)[2:]), dtype=np.float16)
        shards = np.searchsorted(self._ends, items, side="right") - 1
        places = items - self._ends[shards]
        for position in np.lexsort((chosen, items)):
            shard = self._shard(int(shards[position]))
            rows[position] = shard[places[position], chosen[position]]
        return self._split(rows.astype(dtype, copy=False))

    def verify(self) -> None:
        """Read every shard and compare its SHA-256 (caches of earlier versions have none).

        Raises:
            DataError: If one is damaged; the message names it.
        """
        for skip in self.damaged():
            raise DataError(
                f"{skip.path} is damaged: {skip.reason}. Run the same `dinotxt cache` again, "
                "which writes it anew."
            )

    def damaged(self) -> Iterator[Skip]:
        """Yield every shard that is missing or has another SHA-256."""
        for number, known in enumerate(self._hashes):
            path = shard_path(self.path, number)
            if not path.is_file():
                yield Skip(str(path), "it is missing")
            elif known is not None and sha256_file(path) != known:
                yield Skip(str(path), "its SHA-256 is another one")

    def check(self, *, weights_hash: str, transform_hash: str) -> None:
        """Refuse other weights or another transform; see ``StoreSpec.check``."""
        self.spec.check(self.path, weights_hash=weights_hash, transform_hash=transform_hash)

    @cached_property
    def _records(self) -> Sequence[dict[str, Any]]:
        gathered: list[dict[str, Any]] = []
        for number, count in enumerate(self._counts):
            records = read_json(shard_path(self.path, number).with_suffix(".json"))["records"]
            if len(records) != count:
                raise DataError(f"{self.path}: shard {number} does not fit its keys: cache again.")
            gathered += records
        return gathered

    def _check_range(self, items: NDArray[np.int64], views: NDArray[np.int64]) -> None:
        for what, values, limit in (("item", items, len(self)), ("view", views, self.spec.views)):
            if values.size and not (values.min() >= 0 and values.max() < limit):
                raise IndexError(f"{self.path} has {limit} {what}s: there is no {values.max()}.")

    def _map_shard(self, number: int) -> NDArray[np.float16]:
        return np.asarray(np.load(shard_path(self.path, number), mmap_mode="r"))

    def _split(self, rows: NDArray[np.floating]) -> dict[str, NDArray[np.floating]]:
        if self.spec.tokens == "pooled":
            return {name: rows[:, position] for position, name in enumerate(_POOLED)}
        first = 1 + self.spec.num_registers
        return {"cls": rows[:, 0], "registers": rows[:, 1:first], "patches": rows[:, first:]}


def shard_path(folder: Path, number: int) -> Path:
    """Return the array file of a shard; its keys lie beside it as ``.json``."""
    return folder / f"shard-{number:05d}.npy"


def shard_is_whole(folder: Path, number: int, spec: StoreSpec, num_items: int) -> bool:
    """Return whether a shard's array has exactly the bytes that it must have."""
    path = shard_path(folder, number)
    return path.is_file() and path.stat().st_size == _HEADER_BYTES + plan_bytes(spec, num_items)
