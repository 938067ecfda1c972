"""Batches of the pairs that each epoch's curation draw keeps: a pure function of (seed, step).

Paper section 4.2: an epoch sees the pairs kept by both balances, drawn anew. Epochs differ in
length; a step's epoch follows from the draws of the epochs before it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dinotxt.data.order.curated import CuratedPairs
from dinotxt.errors import DataError


class CuratedSampler:
    """Shuffles the captions that an epoch keeps and cuts them into whole batches.

    Args:
        pair_ids: For each item, the ids of its captions; see `dinotxt.data.order.curated`.
        curated: The curation of the pool.
        batch_size: Captions a step, over all processes.
        seed: Of the order; the draws have the curation's own.

    Attributes:
        num_items: How many items there are.
        batch_size: As given.

    Raises:
        DataError: If the curation is of other pairs.
    """

    def __init__(
        self,
        pair_ids: Sequence[NDArray[np.uint64]],
        curated: CuratedPairs,
        batch_size: int,
        seed: int,
    ) -> None:
        self.num_items = len(pair_ids)
        self.batch_size = batch_size
        self._owners = np.repeat(np.arange(self.num_items), [len(ids) for ids in pair_ids])
        self._ids = np.concatenate([np.empty(0, dtype=np.uint64), *pair_ids])
        self._curated = curated
        self._seed = seed
        self._starts = [0]  # the first step of each epoch
        self._order: tuple[int, NDArray[np.int64]] | None = None
        if not curated.knows(self._ids).any():
            raise DataError(
                f"{curated.folder} is a curation of other pairs: none of data.train is in it."
            )

    def epoch(self, step: int) -> int:
        """Return the epoch of a step, from 0.

        Raises:
            DataError: If an epoch keeps fewer captions than a batch.
        """
        while self._starts[-1] <= step:
            epoch = len(self._starts) - 1
            steps = int(self._curated.keeps(self._ids, epoch).sum()) // self.batch_size
            if steps == 0:
                raise DataError(
                    f"Epoch {epoch} of {self._curated.folder} keeps fewer pairs than a batch of "
                    f"{self.batch_size}: lower batch_size."
                )
            self._starts.append(self._starts[-1] + steps)
        return int(np.searchsorted(self._starts, step, side="right")) - 1

    def captions(self, step: int) -> NDArray[np.int64]:
        """Return the captions of a step, numbered over all items, int64 ``[batch]``."""
        epoch = self.epoch(step)
        start = (step - self._starts[epoch]) * self.batch_size
        return self._epoch_order(epoch)[start : start + self.batch_size].copy()

    def indices(self, step: int) -> NDArray[np.int64]:
        """Return the item of each caption of a step, int64 ``[batch]``."""
        return self._owners[self.captions(step)]

    def _epoch_order(self, epoch: int) -> NDArray[np.int64]:
        if self._order is None or self._order[0] != epoch:
            kept = np.flatnonzero(self._curated.keeps(self._ids, epoch))
            key = np.array([self._seed, epoch], dtype=np.uint64)
            generator = np.random.Generator(np.random.Philox(key=key))
            self._order = epoch, generator.permutation(kept)
        return self._order[1]
