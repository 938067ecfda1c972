"""Samples of shards by their number: the few shards in use are open, the next ones are fetched."""

import os
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from dinotxt.data.readers import ImageRef, Sample, tar_samples
from dinotxt.data.streaming.cache import LocalShard, ShardCache, needs_copy
from dinotxt.data.streaming.index import ShardIndex
from dinotxt.data.streaming.parquet import TornParquetError
from dinotxt.errors import DataError
from dinotxt.results.skip import Skip

_FETCHERS = 2


@dataclass(frozen=True, slots=True)
class _OpenShard:
    local: LocalShard | None
    samples: tuple[Sample, ...]
    tear: str = ""

    def close(self) -> None:
        if self.local is not None:
            self.local.close()


class ShardReader:
    """Gives any sample of any shard; what was read last stays open.

    It may be sent to other processes, where it begins with nothing open.

    Args:
        index: The shards.
        cache: Makes them local.
        num_open: How many shards stay open.
    """

    def __init__(self, index: ShardIndex, cache: ShardCache, *, num_open: int) -> None:
        self.index = index
        self.cache = cache
        self.num_open = num_open
        self._open: OrderedDict[int, _OpenShard] = OrderedDict()
        self._asked: set[int] = set()
        self._fetchers: ThreadPoolExecutor | None = None
        self._owner = os.getpid()

    def __getstate__(self) -> dict[str, object]:
        """Leave out what belongs to this process."""
        return {**self.__dict__, "_open": OrderedDict(), "_asked": set(), "_fetchers": None}

    def name(self, shard: int, row: int) -> str:
        """Return what a sample is called before it is read."""
        return f"{self.index.shards[shard]}#{row}"

    def open_shard(self, shard: int) -> None:
        """Open a shard before its samples are read, so that errors of the two can be told apart.

        Raises:
            DataError: If the shard cannot be had.
        """
        self._shard(shard)

    def pair(self, shard: int, row: int) -> tuple[ImageRef, tuple[str, ...]]:
        """Return the picture and the captions of a sample.

        Raises:
            DataError: If the sample is missing, half a pair or damaged.
        """
        opened = self._shard(shard)
        if row >= len(opened.samples):
            stated, found = self.index.counts[shard], len(opened.samples)
            raise DataError(f"the shard has {found} of {stated} samples{opened.tear}")
        sample = opened.samples[row]
        image, captions = sample.parts.get("image"), sample.captions()
        if image is None or not captions:
            missing = "picture" if image is None else "caption"
            raise DataError(f"half a pair: it has no {missing}")
        return image, captions

    def key(self, shard: int, row: int) -> str:
        """Return the key of a sample, below its shard; its number where it cannot be read."""
        samples = self._shard(shard).samples
        if row >= len(samples):
            return self.name(shard, row)
        member = samples[row].key.partition("/")[2]
        return f"{self.index.shards[shard]}::{member}"

    def fetch_ahead(self, shards: Iterable[int]) -> None:
        """Have shards copied by threads, each once, while the caller goes on."""
        self._leave_parent()
        for shard in shards:
            if shard in self._asked or not needs_copy(self.index.shards[shard]):
                continue
            if self._fetchers is None:
                self._fetchers = ThreadPoolExecutor(_FETCHERS, thread_name_prefix="shard")
            self._asked.add(shard)
            # An error shows again, and then in its turn, when the shard is opened.
            self._fetchers.submit(self.cache.local_path, self.index.shards[shard])

    def close(self) -> None:
        """Close all shards and end the threads."""
        for opened in self._open.values():
            opened.close()
        self._open.clear()
        if self._fetchers is not None:
            self._fetchers.shutdown(wait=False, cancel_futures=True)
            self._fetchers = None

    def _leave_parent(self) -> None:
        """Drop what a forked worker got from its parent: threads do not live on in it."""
        if self._owner != os.getpid():
            self._open, self._asked, self._fetchers = OrderedDict(), set(), None
            self._owner = os.getpid()

    def _shard(self, number: int) -> _OpenShard:
        self._leave_parent()
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        self._open[number] = _open(self.cache, self.index.shards[number])
        self._asked.discard(number)
        while len(self._open) > self.num_open:
            _, oldest = self._open.popitem(last=False)
            oldest.close()
        return self._open[number]


def _open(cache: ShardCache, shard: str) -> _OpenShard:
    """Return what a shard holds; of a torn tar what stands before the tear, else nothing."""
    try:
        local = cache.open(shard)
    except TornParquetError as error:
        return _OpenShard(None, (), f": {error}")
    tears: list[Skip] = []
    samples = tuple(tar_samples([local.path], tears.append))
    torn = next((skip.reason for skip in tears if skip.path == str(local.path)), "")
    return _OpenShard(local, samples, f": it is {torn}" if torn else "")
