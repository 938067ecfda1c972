"""The order of a stream: a pure function of (seed, epoch, step), whatever process asks for it.

An epoch lays its shards in a row, shuffled, and cuts the row into lanes of equal length. A lane
goes through its part in windows of a few shards; the items of a window are shuffled together. A
batch takes as many items from each lane, lane by lane, so that the part of a process comes from
the lanes, and the shards, of its own. Shards at a cut are read by both lanes, each its own items.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dinotxt.errors import ConfigError

_KEPT_WINDOWS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamConfig:
    """How shards are streamed.

    Attributes:
        lanes: Parts of the data that a batch draws from at the same time. It decides the order,
            divides ``batch_size`` and should be a multiple of the number of machines.
        window: Shards of a lane that are shuffled together. It decides the order as well.
        cache: Folder for the local copies of shards that are far away or Parquet; None: in the
            cache folder of dinotxt.
        cache_gib: Copies beyond this size are removed, those longest unused first.
        retries: How often a failed request is repeated before the run stops.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    lanes: int = 4
    window: int = 4
    cache: Path | None = None
    cache_gib: float = 64.0
    retries: int = 5

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ConfigError: If one is out of its range.
        """
        if min(self.lanes, self.window) < 1 or self.cache_gib <= 0 or self.retries < 0:
            raise ConfigError(
                "data.stream: lanes and window must be at least 1, cache_gib above 0 and retries "
                "at least 0."
            )


@dataclass(frozen=True, slots=True, eq=False)
class _Epoch:
    """The row of shards of one epoch: which shard is where."""

    number: int
    shards: NDArray[np.int64]
    ends: NDArray[np.int64]  # where each shard of the row ends


class StreamSampler:
    """Which items make a batch, item ``i`` being row ``i - starts[shard]`` of its shard.

    Args:
        counts: The samples of each shard.
        batch_size: Items a step, over all processes.
        seed: The seed of the run.
        lanes: See ``StreamConfig``.
        window: See ``StreamConfig``.

    Attributes:
        num_items: Samples of all shards.
        batch_size: As given.
        steps_per_epoch: Whole batches an epoch; the items beyond them wait for another epoch.

    Raises:
        ConfigError: If lanes do not divide the batch, or one batch needs more items than there are.
    """

    def __init__(
        self, counts: Sequence[int], batch_size: int, seed: int, *, lanes: int = 4, window: int = 4
    ) -> None:
        self._counts = np.array(counts, dtype=np.int64)
        self.starts = np.concatenate([[0], self._counts.cumsum()])
        self.num_items = int(self.starts[-1])
        if batch_size < 1 or batch_size % lanes:
            raise ConfigError(
                f"batch_size {batch_size} does not divide among {lanes} lanes of the stream: make "
                "it a multiple of data.stream.lanes."
            )
        self.batch_size = batch_size
        self._seed = seed
        self._lanes = lanes
        self._window = window
        self._share = batch_size // lanes
        self._lane_items = self.num_items // lanes
        self.steps_per_epoch = self._lane_items // self._share
        if self.steps_per_epoch == 0:
            raise ConfigError(
                f"batch_size is {batch_size} but the stream has {self.num_items} samples: lower "
                "batch_size or add shards."
            )
        self._epoch: _Epoch | None = None
        self._windows: dict[tuple[int, int, int], NDArray[np.int64]] = {}

    def epoch(self, step: int) -> int:
        """Return the epoch of a step, from 0."""
        return step // self.steps_per_epoch

    def indices(self, step: int) -> NDArray[np.int64]:
        """Return the items of a step, lane by lane, int64 ``[batch]``."""
        first = (step % self.steps_per_epoch) * self._share
        epoch = self._order(self.epoch(step))
        parts = [self._lane(epoch, lane, first, first + self._share) for lane in range(self._lanes)]
        return np.concatenate(parts)

    def shards_ahead(self, step: int, part: slice | NDArray[np.int64]) -> list[int]:
        """Return the shards of the next window of each lane that gives a part of the batch."""
        epoch = self._order(self.epoch(step))
        first = (step % self.steps_per_epoch) * self._share
        lanes = np.unique(np.arange(self.batch_size)[part] // self._share).tolist()
        found: dict[int, None] = {}
        for lane in lanes:
            begin = lane * self._lane_items
            place = np.searchsorted(epoch.ends, begin + first, side="right")
            number = (place - self._first_shard(epoch, lane)) // self._window + 1
            low = self._first_shard(epoch, lane) + number * self._window
            last = np.searchsorted(epoch.ends, begin + self._lane_items - 1, side="right")
            found.update(dict.fromkeys(epoch.shards[low : min(low + self._window, last + 1)]))
        return [int(shard) for shard in found]

    def locate(self, item: int) -> tuple[int, int]:
        """Return the shard of an item and its row there."""
        shard = int(np.searchsorted(self.starts, item, side="right")) - 1
        return shard, int(item - self.starts[shard])

    def _order(self, number: int) -> _Epoch:
        if self._epoch is None or self._epoch.number != number:
            generator = self._generator(number, 0, 0)
            shards = generator.permutation(len(self._counts))
            self._epoch = _Epoch(number, shards, self._counts[shards].cumsum())
            self._windows.clear()
        return self._epoch

    def _lane(self, epoch: _Epoch, lane: int, first: int, stop: int) -> NDArray[np.int64]:
        """Return the items at the places ``first`` to ``stop`` of a lane."""
        parts = []
        number = self._window_of(epoch, lane, first)
        while first < stop:
            low, high = self._bounds(epoch, lane, number)
            if high > first:
                items = self._shuffled(epoch, lane, number)
                parts.append(items[first - low : min(stop, high) - low])
                first = min(stop, high)
            number += 1
        return np.concatenate(parts)

    def _first_shard(self, epoch: _Epoch, lane: int) -> int:
        return int(np.searchsorted(epoch.ends, lane * self._lane_items, side="right"))

    def _window_of(self, epoch: _Epoch, lane: int, place: int) -> int:
        here = np.searchsorted(epoch.ends, lane * self._lane_items + place, side="right")
        return (int(here) - self._first_shard(epoch, lane)) // self._window

    def _bounds(self, epoch: _Epoch, lane: int, number: int) -> tuple[int, int]:
        """Return the places of a lane that a window covers."""
        begin = lane * self._lane_items
        first = self._first_shard(epoch, lane) + number * self._window
        low = int(epoch.ends[first - 1]) - begin if first and number else 0
        last = min(first + self._window, len(epoch.ends)) - 1
        return low, min(int(epoch.ends[last]) - begin, self._lane_items)

    def _shuffled(self, epoch: _Epoch, lane: int, number: int) -> NDArray[np.int64]:
        key = (epoch.number, lane, number)
        if key not in self._windows:
            low, high = self._bounds(epoch, lane, number)
            begin = lane * self._lane_items
            places = np.arange(begin + low, begin + high)
            row = np.searchsorted(epoch.ends, places, side="right")
            shards = epoch.shards[row]
            items = self.starts[shards] + places - (epoch.ends[row] - self._counts[shards])
            old = [other for other in self._windows if other[1] == lane]
            for other in old[: max(0, len(old) + 1 - _KEPT_WINDOWS)]:
                del self._windows[other]
            self._windows[key] = self._generator(epoch.number, lane + 1, number).permutation(items)
        return self._windows[key]

    def _generator(self, epoch: int, lane: int, window: int) -> np.random.Generator:
        key = np.array([self._seed, epoch], dtype=np.uint64)
        counter = np.array([0, 0, window, lane], dtype=np.uint64)
        return np.random.Generator(np.random.Philox(key=key, counter=counter))
