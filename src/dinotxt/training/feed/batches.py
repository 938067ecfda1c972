"""The batches of a run: a pure function of (seed, step), read ahead by workers or a thread."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dinotxt.data.order import CuratedSampler, EpochSampler
from dinotxt.data.prefetch import prefetch
from dinotxt.errors import ConfigError, DataError
from dinotxt.models.vision import Tokens
from dinotxt.results.skip import Skip
from dinotxt.training.feed.captions import CaptionTable
from dinotxt.training.feed.vision import move
from dinotxt.training.profile import end_step, phase

_READ_AHEAD = 2
_WORKER_FAULTS = ("DataLoader timed out", "exited unexpectedly", "is killed by signal")


@dataclass(frozen=True, slots=True)
class Batch:
    """A micro-batch of pairs.

    Attributes:
        vision: Pictures ``[B, C, H, W]`` or the backbone's tokens of ``B`` pictures.
        token_ids: ``[T, L]``, zero-padded captions; T is B where one caption is drawn.
        lengths: ``[T]``, real tokens of each caption.
        owners: ``[T]``, the row of each caption's picture where all captions are given.
        skipped: Pictures that could not be read and are not in the batch.
    """

    vision: Tensor | Tokens
    token_ids: Tensor
    lengths: Tensor
    owners: Tensor | None = None
    skipped: tuple[Skip, ...] = ()

    def __len__(self) -> int:
        """Return the number of pictures B."""
        return len(self.vision if isinstance(self.vision, Tensor) else self.vision.cls)

    def stand_in(self) -> "Batch":
        """Return a black picture with a text of one token, to run where no pair is left."""
        assert isinstance(self.vision, Tensor)
        one = torch.ones(1, dtype=torch.int64)
        owners = None if self.owners is None else one - 1
        return Batch(self.vision.new_zeros(1, *self.vision.shape[1:]), one.view(1, 1), one, owners)

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device."""
        vision = self.vision
        return replace(
            self,
            vision=vision.to(device) if isinstance(vision, Tensor) else move(vision, device),
            token_ids=self.token_ids.to(device),
            lengths=self.lengths.to(device),
            owners=None if self.owners is None else self.owners.to(device),
        )


class Sampler(Protocol):
    """The order of a run: which items make the batch of a step."""

    @property
    def num_items(self) -> int:
        """How many items there are."""

    @property
    def batch_size(self) -> int:
        """Items a step, over all processes."""

    def epoch(self, step: int) -> int:
        """Return the epoch of a step, from 0."""

    def indices(self, step: int) -> NDArray[np.int64]:
        """Return the items of a step, int64 ``[batch]``."""


class VisionSource(Protocol):
    """Gives the vision side of pairs."""

    def read(
        self, pairs: NDArray[np.int64], epoch: int
    ) -> tuple[Tensor | Tokens, NDArray[np.int64], tuple[Skip, ...]]:
        """Return the pictures or tokens, which of ``pairs`` they are, and what was skipped."""


class BatchReader(Dataset[Batch]):
    """Every micro-batch of a process by its number: ``step * chunks + chunk``.

    A process takes its part of each step's batch, of the same size as that of every other one.

    Args:
        sampler: The order.
        micro_batch_size: Pairs a micro-batch; the last one of a step may be smaller.
        rank: The number of this process.
        num_ranks: How many processes share a batch.

    Raises:
        ConfigError: If the processes do not divide the batch.
    """

    def __init__(
        self, sampler: Sampler, *, micro_batch_size: int, rank: int = 0, num_ranks: int = 1
    ) -> None:
        if sampler.batch_size % num_ranks:
            raise ConfigError(
                f"batch_size {sampler.batch_size} does not divide among {num_ranks} processes: "
                f"make it a multiple of {num_ranks}."
            )
        self.sampler = sampler
        self.micro_batch_size = micro_batch_size
        self.share = sampler.batch_size // num_ranks
        self.chunks = -(-self.share // micro_batch_size)
        self._first = rank * self.share

    def __getitem__(self, number: int) -> Batch:
        """Make a micro-batch."""
        raise NotImplementedError

    def window(self, number: int) -> tuple[int, slice]:
        """Return the step of a micro-batch and its part of the step's batch over all processes."""
        step, chunk = divmod(number, self.chunks)
        start = chunk * self.micro_batch_size
        stop = min(start + self.micro_batch_size, self.share)
        return step, slice(self._first + start, self._first + stop)

    def num_expected(self, step: int) -> int:
        """Return of how many pairs a share may be lost when ``step`` steps are done."""
        del step
        return self.sampler.num_items

    def steps(
        self, start: int, stop: int, *, num_workers: int, timeout: float = 0
    ) -> Iterator[list[Batch]]:
        """Yield the micro-batches of each step, read ahead.

        Args:
            start: The first step.
            stop: The step after the last.
            num_workers: Processes that read; 0 uses a thread of this process.
            timeout: Seconds to wait for a process that reads; 0 waits for ever.

        Raises:
            DataError: If a process that reads hangs or dies.
        """
        numbers = range(start * self.chunks, stop * self.chunks)
        if num_workers:
            batches = self._by_workers(numbers, num_workers, timeout)
        else:
            batches = prefetch(self.__getitem__, numbers, num_workers=1, ahead=_READ_AHEAD)
        for _ in range(start, stop):
            with phase("data wait"):
                micro_batches = [next(batches) for _ in range(self.chunks)]
            yield micro_batches
            end_step()

    def _by_workers(self, numbers: range, num_workers: int, timeout: float) -> Iterator[Batch]:
        loader = DataLoader(
            self, batch_size=None, sampler=numbers, num_workers=num_workers, timeout=timeout
        )
        try:
            yield from loader
        except RuntimeError as error:
            if not any(sign in str(error) for sign in _WORKER_FAULTS):
                raise
            raise DataError(
                f"the data workers gave no batch: {error}. A picture or the storage hangs, or "
                "memory ran out; run again with data.num_workers=0 to see where."
            ) from error


class Batches(BatchReader):
    """The micro-batches of pairs that can be read in any order.

    Args:
        vision: The pictures or tokens.
        captions: The captions.
        sampler: The order; one of a curation also names the captions.
        micro_batch_size: Pairs a micro-batch; the last one of a step may be smaller.
        all_captions: Give all captions of a picture rather than one.
        rank: The number of this process.
        num_ranks: How many processes share a batch.
    """

    def __init__(
        self,
        vision: VisionSource,
        captions: CaptionTable,
        sampler: EpochSampler | CuratedSampler,
        *,
        micro_batch_size: int,
        all_captions: bool = False,
        rank: int = 0,
        num_ranks: int = 1,
    ) -> None:
        super().__init__(sampler, micro_batch_size=micro_batch_size, rank=rank, num_ranks=num_ranks)
        self.vision = vision
        self.captions = captions
        self.all_captions = all_captions

    def __getitem__(self, number: int) -> Batch:
        """Make a micro-batch."""
        step, part = self.window(number)
        pairs = self.sampler.indices(step)[part]
        epoch = self.sampler.epoch(step)
        vision, read, skipped = self.vision.read(pairs, epoch)
        owners = None
        if self.all_captions:
            captions, rows = self.captions.of(read)
            owners = torch.from_numpy(rows)
        elif isinstance(self.sampler, CuratedSampler):
            captions = self.sampler.captions(step)[part][np.isin(pairs, read)]
        else:
            captions = self.captions.draw(read, epoch)
        ids, lengths = self.captions.gather(captions)
        return Batch(vision, torch.from_numpy(ids), torch.from_numpy(lengths), owners, skipped)
