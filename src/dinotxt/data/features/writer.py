"""Writing a feature cache shard by shard, so that a killed run goes on where it stopped."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinotxt.data.features.store import (
    FORMAT,
    MANIFEST,
    FeatureStore,
    StoreSpec,
    shard_is_whole,
    shard_path,
)
from dinotxt.data.readers import Pair
from dinotxt.errors import DataError
from dinotxt.files import atomic_path, mark_folder, read_json, sha256_file, write_json
from dinotxt.results.skip import Skip

_PLAN = "plan.json"
_SHARD_BYTES = 1 << 26
_MAX_SHARD_VIEWS = 1024  # what a killed run computes again: about a minute on two cores


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of the work: the pairs from ``start`` to ``stop`` make the shard ``number``."""

    number: int
    start: int
    stop: int


class FeatureStoreWriter:
    """Writes a feature cache; a shard is either done or not there.

    Attributes:
        path: The folder.
        spec: What the cache holds.
        shards: All parts of the work, in order.
    """

    def __init__(
        self,
        path: str | Path,
        spec: StoreSpec,
        pairs: Sequence[Pair],
        *,
        shard_items: int | None = None,
    ) -> None:
        """Start a cache, or go on with one.

        Args:
            path: The folder.
            spec: What the cache holds and what makes it.
            pairs: The pictures and their captions.
            shard_items: Pictures a shard; None makes shards of 64 MiB and 1,024 views at most.

        Raises:
            DataError: If the folder holds a cache of other weights, transforms or pairs, or if
                there are no pairs.
        """
        if not pairs:
            raise DataError("There are no pairs to cache.")
        most = min(_SHARD_BYTES // spec.item_bytes, _MAX_SHARD_VIEWS // spec.views)
        size = shard_items or max(1, most)
        self.path, self.spec, self._pairs = Path(path), spec, pairs
        self._sound: dict[int, bool] = {}
        plan = {"spec": spec.to_json(), "pairs": len(pairs), "pairs_hash": _hash(pairs)}
        size = self._begin({**plan, "shard_items": size})
        starts = range(0, len(pairs), size)
        self.shards = tuple(
            Shard(number, start, min(start + size, len(pairs)))
            for number, start in enumerate(starts)
        )

    def pending(self) -> list[Shard]:
        """Return the shards that are still to be written."""
        return [shard for shard in self.shards if self._read_done(shard) is None]

    def write(
        self,
        shard: Shard,
        tokens: NDArray[np.floating],
        *,
        kept: Sequence[int] | None = None,
        skipped: Iterable[Skip] = (),
    ) -> None:
        """Write one shard, whole or not at all.

        Args:
            shard: One of ``pending``.
            tokens: ``[items, views, tokens, width]``.
            kept: The position in ``pairs`` of each item; None if no picture was left out.
            skipped: The pictures that were left out, and why.

        Raises:
            DataError: If the disk is full (the shards before stay valid), if the shape is wrong
                or if a value does not fit fp16.
        """
        positions = list(range(shard.start, shard.stop)) if kept is None else list(kept)
        with np.errstate(over="ignore"):
            halves = np.ascontiguousarray(tokens, dtype=np.float16)
        expected = self.spec.shard_shape(len(positions))
        if halves.shape != expected:
            raise DataError(f"A shard is {list(halves.shape)} but must be {list(expected)}.")
        if not np.isfinite(halves).all():
            raise DataError(f"{self.path}: a feature is not finite in fp16; check the backbone.")
        records = [
            {"key": self._pairs[position].key, "captions": self._pairs[position].captions}
            for position in positions
        ]
        content: dict[str, Any] = {"records": records}
        content["skipped"] = [asdict(skip) for skip in skipped]
        path = shard_path(self.path, shard.number)
        try:
            with atomic_path(path) as temporary:
                with temporary.open("wb") as stream:
                    np.save(stream, halves)
                content["sha256"] = sha256_file(temporary)
            with atomic_path(path.with_suffix(".json")) as temporary:
                temporary.write_text(json.dumps(content), "utf-8")
            self._sound[shard.number] = True
        except OSError as error:
            done = len(self.shards) - len(self.pending())
            raise DataError(
                f"{path} cannot be written ({error.strerror or error}); {done} of "
                f"{len(self.shards)} shards are done and kept: make room, then run it again."
            ) from error

    def finish(self) -> FeatureStore:
        """Write the manifest and open the cache.

        Raises:
            DataError: If a shard is missing or every picture was left out.
        """
        done = [self._read_done(shard) for shard in self.shards]
        contents = [content for content in done if content is not None]
        if len(contents) < len(done):
            raise DataError(f"{self.path}: {len(done) - len(contents)} shards are not written yet.")
        counts = [len(content["records"]) for content in contents]
        if not sum(counts):
            raise DataError(f"{self.path}: not one picture could be cached.")
        manifest = {
            "format": FORMAT,
            "spec": self.spec.to_json(),
            "shards": counts,
            "sha256": [content.get("sha256") for content in contents],
            "skipped": [skip for content in contents for skip in content["skipped"]],
        }
        write_json(self.path / MANIFEST, manifest)
        return FeatureStore.open(self.path)

    def _begin(self, plan: dict[str, Any]) -> int:
        """Compare with the plan of an earlier run, or write it; return the items of a shard."""
        path = self.path / _PLAN
        if not path.is_file():
            try:
                if not self.path.exists() or not any(self.path.iterdir()):
                    mark_folder(self.path, "cache")
                write_json(path, plan)
            except OSError as error:
                raise DataError(f"{path} cannot be written ({error.strerror}).") from error
            return int(plan["shard_items"])
        old = read_json(path)
        try:
            spec, old_pairs = StoreSpec.from_json(old["spec"]), (old["pairs"], old["pairs_hash"])
            size = int(old["shard_items"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path} is damaged ({error!r}): cache to another folder.") from error
        mine = self.spec
        spec.check(self.path, weights_hash=mine.weights_hash, transform_hash=mine.transform_hash)
        if spec.shard_shape(1) != mine.shard_shape(1) or spec.tokens != mine.tokens:
            raise DataError(
                f"{self.path} holds {spec.tokens} tokens {spec.shard_shape(1)[1:]}, not "
                f"{mine.tokens} {mine.shard_shape(1)[1:]}: cache to another folder."
            )
        if old_pairs != (plan["pairs"], plan["pairs_hash"]):
            raise DataError(
                f"{self.path} was made of {old_pairs[0]} other pairs, not of these {plan['pairs']}:"
                " cache to another folder."
            )
        for temporary in self.path.glob(".shard-*.tmp"):
            temporary.unlink(missing_ok=True)
        return size

    def _read_done(self, shard: Shard) -> dict[str, Any] | None:
        """Return the keys of a shard that is whole, or None."""
        path = shard_path(self.path, shard.number).with_suffix(".json")
        if not path.is_file():
            return None
        try:
            content: dict[str, Any] = read_json(path)
            count = len(content["records"])
        except (DataError, KeyError, TypeError):
            return None
        whole = shard_is_whole(self.path, shard.number, self.spec, count)
        return (
            content if whole and "skipped" in content and self._is_sound(shard, content) else None
        )

    def _is_sound(self, shard: Shard, content: dict[str, Any]) -> bool:
        """Compare a shard that an earlier run wrote with its SHA-256, once."""
        if shard.number not in self._sound:
            known = content.get("sha256")  # none in caches of earlier versions
            own = shard_path(self.path, shard.number)
            self._sound[shard.number] = known is None or known == sha256_file(own)
        return self._sound[shard.number]


def _hash(pairs: Sequence[Pair]) -> str:
    """Name the pairs by their keys and captions."""
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update(json.dumps([pair.key, pair.captions]).encode())
    return digest.hexdigest()
