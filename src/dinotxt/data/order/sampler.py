"""Which items make a batch: a pure function of (seed, epoch, step), so a run resumes exactly.

Random numbers are one splitmix64 hash of (seed, epoch, item): no state, no order, so that any
worker on any machine draws the same number for the same item. Source of the mixing constants:
Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators".
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dinotxt.errors import ConfigError

_CAPTION_STREAM, _VIEW_STREAM = 1, 2
_GOLDEN = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_MASK = (1 << 64) - 1
_CHUNK = 1 << 15


class EpochSampler:
    """Shuffles the items anew each epoch and cuts them into whole batches.

    Step ``s`` belongs to epoch ``s // steps_per_epoch``. An epoch shows an item at most once; the
    ``num_items % batch_size`` last items of its order wait for another epoch.

    Attributes:
        num_items: How many items there are.
        batch_size: Items a step, over all processes.
        steps_per_epoch: Whole batches an epoch.
    """

    def __init__(self, num_items: int, batch_size: int, seed: int) -> None:
        """Check the sizes.

        Raises:
            ConfigError: If one batch needs more items than there are.
        """
        if batch_size < 1 or num_items < batch_size:
            raise ConfigError(
                f"batch_size is {batch_size} but there are {num_items} items: "
                "lower batch_size or add data."
            )
        self.num_items = num_items
        self.batch_size = batch_size
        self.steps_per_epoch = num_items // batch_size
        self._seed = seed
        self._order: tuple[int, NDArray[np.int64]] | None = None

    def epoch(self, step: int) -> int:
        """Return the epoch of a step, from 0."""
        return step // self.steps_per_epoch

    def indices(self, step: int) -> NDArray[np.int64]:
        """Return the items of a step, int64 ``[batch]``."""
        start = (step % self.steps_per_epoch) * self.batch_size
        return self._epoch_order(self.epoch(step))[start : start + self.batch_size].copy()

    def _epoch_order(self, epoch: int) -> NDArray[np.int64]:
        if self._order is None or self._order[0] != epoch:
            key = np.array([self._seed, epoch], dtype=np.uint64)
            generator = np.random.Generator(np.random.Philox(key=key))
            self._order = epoch, generator.permutation(self.num_items)
        return self._order[1]


def caption_index(seed: int, epoch: int, ids: ArrayLike, counts: ArrayLike) -> NDArray[np.int64]:
    """Draw which of its captions each item shows in an epoch.

    Args:
        seed: The seed of the run.
        epoch: The epoch.
        ids: The items, ``[N]``.
        counts: How many captions each has, ``[N]``, at least 1.
    """
    numbers = np.asarray(counts, dtype=np.int64)
    drawn = uniform(seed, epoch, ids, stream=_CAPTION_STREAM) * numbers
    return np.minimum(drawn.astype(np.int64), numbers - 1)


def view_index(seed: int, epoch: int, ids: ArrayLike, num_views: int) -> NDArray[np.int64]:
    """Draw which of its cached views each item shows in an epoch, int64 ``[N]``."""
    drawn = uniform(seed, epoch, ids, stream=_VIEW_STREAM) * num_views
    return np.minimum(drawn.astype(np.int64), num_views - 1)


def uniform(seed: int, epoch: int, ids: ArrayLike, stream: int = 0) -> NDArray[np.float64]:
    """Draw one number in [0, 1) an id, with 53 random bits.

    Args:
        seed: The seed of the run.
        epoch: The epoch.
        ids: Non-negative ids, any shape.
        stream: Another stream is another, independent draw of the same id.
    """
    bits = _hash(seed, epoch, ids, stream) >> np.uint64(11)
    return bits.astype(np.float64) * np.float64(2.0**-53)


def uniforms(
    seed: int, epoch: int, ids: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw two numbers in [0, 1) an id, for its text and its image: the halves of one hash."""
    bits = _hash(seed, epoch, ids, 0)
    text, image = bits >> np.uint64(32), bits & np.uint64(0xFFFFFFFF)
    scale = np.float64(2.0**-32)
    return text.astype(np.float64) * scale, image.astype(np.float64) * scale


def _hash(seed: int, epoch: int, ids: ArrayLike, stream: int) -> NDArray[np.uint64]:
    key = 0
    for part in (seed, epoch, stream):
        key = _mix_integer((key + _GOLDEN + part) & _MASK)
    # Counter mode: the state of item i is key + (i + 1) * golden, as in sequential splitmix64.
    mixed = np.array(ids, dtype=np.uint64, order="C")
    flat = mixed.reshape(-1)
    scratch = np.empty(min(flat.size, _CHUNK), dtype=np.uint64)
    for start in range(0, flat.size, _CHUNK):
        chunk = flat[start : start + _CHUNK]
        _mix(chunk, scratch[: chunk.size], (key + _GOLDEN) & _MASK)
    return mixed


def _mix(state: NDArray[np.uint64], scratch: NDArray[np.uint64], key: int) -> None:
    """Mix a chunk that fits the cache, in place."""
    state *= np.uint64(_GOLDEN)
    state += np.uint64(key)
    for shift, factor in ((30, _FIRST), (27, _SECOND)):
        np.right_shift(state, np.uint64(shift), out=scratch)
        state ^= scratch
        state *= np.uint64(factor)
    np.right_shift(state, np.uint64(31), out=scratch)
    state ^= scratch


def _mix_integer(state: int) -> int:
    state = ((state ^ (state >> 30)) * _FIRST) & _MASK
    state = ((state ^ (state >> 27)) * _SECOND) & _MASK
    return state ^ (state >> 31)
