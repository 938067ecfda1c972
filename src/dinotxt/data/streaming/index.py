"""How many samples each shard of a stream has, found once and kept.

In this order: what the data state (WebDataset's ``sizes.json``, an index of ``wids``, the
``_stats.json`` of img2dataset, the footer of a Parquet file), then a look at the shard itself. An
index that has been built is kept beside the local copies and used again.
"""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dinotxt.data.prefetch import prefetch
from dinotxt.data.readers import expand, files_in, find_tars, tar_samples
from dinotxt.data.streaming.cache import ShardCache, version
from dinotxt.data.streaming.parquet import TornParquetError, num_rows
from dinotxt.data.streaming.remote import Remote
from dinotxt.errors import DataError
from dinotxt.files import is_address, read_json, write_json
from dinotxt.results.skip import OnSkip, Skip

_SUFFIXES = (".tar", ".parquet")
_WORKERS = 8
_STATED = ("sizes.json", "index.json")


@dataclass(frozen=True, slots=True)
class ShardIndex:
    """The shards of a stream.

    Attributes:
        shards: Paths or addresses, in their order.
        counts: The samples of each.
    """

    shards: tuple[str, ...]
    counts: tuple[int, ...]

    @property
    def fingerprint(self) -> str:
        """Return a hash of the shards' names and counts, wherever they lie."""
        digest = hashlib.sha256()
        for shard, count in zip(self.shards, self.counts, strict=True):
            digest.update(f"{shard.rpartition('/')[2]}\0{count}\n".encode())
        return digest.hexdigest()


def list_shards(data: str, remote: Remote, report: OnSkip) -> list[str]:
    """Return the shards that a path, an address or a pattern of either means.

    Raises:
        DataError: If nothing matches or something else than tars and Parquet files does.
    """
    if is_address(data):
        found = remote.expand(data, report)
    elif Path(data).is_dir():
        found = [str(path) for path in find_tars(data, report)]
        found = found or [str(path) for path in files_in(Path(data), "*.parquet")]
    else:
        found = [str(path) for path in expand(data, report)]
    other = next((shard for shard in found if not shard.endswith(_SUFFIXES)), None)
    if other is not None or not found:
        raise DataError(f"{other or data} is no shard: a stream reads .tar and .parquet files.")
    return found


def index_shards(shards: Sequence[str], cache: ShardCache, report: OnSkip) -> ShardIndex:
    """Count the samples of every shard; those without any are reported and left out.

    Raises:
        DataError: If a shard cannot be read or none has a sample.
    """
    listed = hashlib.sha256("\n".join(map(version, shards)).encode()).hexdigest()[:16]
    kept = cache.folder / f"index-{listed}.json"
    counts: dict[str, int] = {}
    skips: list[Skip] = []
    with suppress(DataError):
        content = read_json(kept)
        counts = {str(shard): int(count) for shard, count in content["counts"].items()}
        skips = [Skip(path, reason) for path, reason in content.get("skips", [])]
    if counts.keys() != set(shards):
        counts, skips = _count_all(shards, cache)
        write_json(kept, {"counts": counts, "skips": [[s.path, s.reason] for s in skips]})
    told = {skip.path for skip in skips}
    skips += [Skip(x, "the shard has no sample") for x in shards if not counts[x] and x not in told]
    for skip in skips:
        report(skip)
    used = tuple(shard for shard in shards if counts[shard])
    if not used:
        raise DataError(f"{shards[0]} and the other shards have no sample.")
    return ShardIndex(used, tuple(counts[shard] for shard in used))


def _count_all(shards: Sequence[str], cache: ShardCache) -> tuple[dict[str, int], list[Skip]]:
    remote = cache.remote
    stated = {}
    for folder in {shard.rpartition("/")[0] for shard in shards}:
        stated.update(_stated_in(folder, remote))
    first = shards[0].removesuffix(".tar") + "_stats.json"
    has_stats = shards[0].endswith(".tar") and _read(first, remote) is not None

    def count(shard: str) -> tuple[int, list[Skip]]:
        skips: list[Skip] = []
        found = stated.get(shard)
        if found is None and has_stats:
            found = _stats_count(shard, remote)
        if found is None:
            found = _look(shard, cache, skips.append)
        return found, skips

    counts, lost = {}, list[Skip]()
    results = prefetch(count, shards, num_workers=_WORKERS, ahead=2 * _WORKERS)
    for shard, (found, skips) in zip(shards, results, strict=True):
        counts[shard] = found
        lost += skips
    return counts, lost


def _look(shard: str, cache: ShardCache, report: OnSkip) -> int:
    """Count the samples in a shard itself; a remote tar is fetched for it, and kept."""
    if shard.endswith(".parquet"):
        try:
            if not is_address(shard):
                return num_rows(shard)
            with cache.remote.open(shard) as stream:
                return num_rows(stream)
        except TornParquetError as error:
            report(Skip(shard, str(error)))
            return 0
    local = cache.open(shard)
    try:

        def named(skip: Skip) -> None:
            report(Skip(skip.path.replace(str(local.path), shard), skip.reason))

        return sum(1 for _ in tar_samples([local.path], named))
    finally:
        local.close()


def _stated_in(folder: str, remote: Remote) -> dict[str, int]:
    """Read the counts of WebDataset's ``sizes.json`` or of an index of ``wids``."""
    found: dict[str, int] = {}
    for name in _STATED:
        content = _read(f"{folder}/{name}" if folder else name, remote)
        if not isinstance(content, dict):
            continue
        entries = content.get("shardlist")
        if isinstance(entries, list):
            content = {
                one["url"]: one["nsamples"]
                for one in entries
                if isinstance(one, dict) and {"url", "nsamples"} <= one.keys()
            }
        for shard, count in content.items():
            if isinstance(count, int) and count >= 0:
                base = str(shard).rpartition("/")[2]
                found[f"{folder}/{base}" if folder else base] = count
    return found


def _stats_count(shard: str, remote: Remote) -> int | None:
    content = _read(shard.removesuffix(".tar") + "_stats.json", remote)
    count = content.get("successes") if isinstance(content, dict) else None
    return count if isinstance(count, int) else None


def _read(path: str, remote: Remote) -> Any:
    if is_address(path):
        content = remote.read(path)
    else:
        content = Path(path).read_bytes() if Path(path).is_file() else None
    try:
        return None if content is None else json.loads(content)
    except ValueError:
        return None
