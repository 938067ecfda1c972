"""Which items make a batch: a pure function of (seed, epoch, step), so a run resumes exactly."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dinotxt.data.order.counter import uniform
from dinotxt.errors import ConfigError

_CAPTION_STREAM, _VIEW_STREAM = 1, 2


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

    def indices(self, step: int, *, rank: int = 0, num_ranks: int = 1) -> NDArray[np.int64]:
        """Return the items of a step, or the part of one process, int64 ``[batch]``.

        Raises:
            ConfigError: If the batch does not split evenly among the processes.
        """
        if self.batch_size % num_ranks:
            raise ConfigError(
                f"batch_size {self.batch_size} does not divide among {num_ranks} processes: "
                f"make it a multiple of {num_ranks}."
            )
        share = self.batch_size // num_ranks
        start = (step % self.steps_per_epoch) * self.batch_size + rank * share
        return self._epoch_order(self.epoch(step))[start : start + share].copy()

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
