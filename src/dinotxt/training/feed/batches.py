"""The batches of a run: a pure function of (seed, step), read ahead by workers or a thread."""

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
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
        made: ``[B, 2]``, the class and the term of the caption of each picture that a teacher made,
            -1 for real ones; None: all are real.
        skipped: Pictures that could not be read and are not in the batch.
    """

    vision: Tensor | Tokens
    token_ids: Tensor
    lengths: Tensor
    owners: Tensor | None = None
    made: Tensor | None = None
    skipped: tuple[Skip, ...] = ()

    def __len__(self) -> int:
        """Return the number of pictures B."""
        return len(self.vision if isinstance(self.vision, Tensor) else self.vision.cls)

    def stand_in(self) -> "Batch":
        """Return a black picture with a text of one token, to run where no pair is left."""
        assert isinstance(self.vision, Tensor)
        one = torch.ones(1, dtype=torch.int64)
        owners = None if self.owners is None else one - 1
        made = None if self.made is None else -one.new_ones(1, 2)
        black = self.vision.new_zeros(1, *self.vision.shape[1:])
        return Batch(black, one.view(1, 1), one, owners, made)

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device."""
        vision = self.vision
        return replace(
            self,
            vision=vision.to(device) if isinstance(vision, Tensor) else move(vision, device),
            token_ids=self.token_ids.to(device),
            lengths=self.lengths.to(device),
            owners=None if self.owners is None else self.owners.to(device),
            made=None if self.made is None else self.made.to(device),
        )


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
        batch_size: Pairs a step, over all processes.
        num_items: How many pairs there are.
        micro_batch_size: Pairs a micro-batch; the last one of a step may be smaller. None: all.
        rank: The number of this process.
        num_ranks: How many processes share a batch.

    Raises:
        ConfigError: If the processes do not divide the batch.
    """

    def __init__(
        self,
        batch_size: int,
        num_items: int,
        *,
        micro_batch_size: int | None = None,
        rank: int = 0,
        num_ranks: int = 1,
    ) -> None:
        if batch_size % num_ranks:
            raise ConfigError(
                f"batch_size {batch_size} does not divide among {num_ranks} processes: "
                f"make it a multiple of {num_ranks}."
            )
        self.batch_size = batch_size
        self.num_items = num_items
        self.share = batch_size // num_ranks
        self.micro_batch_size = micro_batch_size or self.share
        self.chunks = -(-self.share // self.micro_batch_size)
        self._first = rank * self.share

    def __getitem__(self, number: int) -> Batch:
        """Make a micro-batch."""
        return self.read(*self.window(number))

    def read(self, step: int, places: slice | NDArray[np.int64]) -> Batch:
        """Make a batch of what stands at some places of a step's batch."""
        raise NotImplementedError

    def names(self, step: int) -> list[str]:
        """Return what stands in a step's batch, for messages."""
        raise NotImplementedError

    def window(self, number: int) -> tuple[int, slice]:
        """Return the step of a micro-batch and its part of the step's batch over all processes."""
        step, chunk = divmod(number, self.chunks)
        start = chunk * self.micro_batch_size
        stop = min(start + self.micro_batch_size, self.share)
        return step, slice(self._first + start, self._first + stop)

    def parts(self) -> list["BatchReader"]:
        """Return the sources, of which this may be the only one."""
        return [self]

    def num_expected(self, step: int) -> int:
        """Return of how many pairs a share may be lost when ``step`` steps are done."""
        del step
        return self.num_items

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
            self,
            batch_size=None,
            sampler=numbers,
            num_workers=num_workers,
            timeout=timeout,
            worker_init_fn=hear_parent_alone,
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
        keys: The key of every pair.
        micro_batch_size: Pairs a micro-batch; the last one of a step may be smaller. None: all.
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
        keys: Sequence[str] = (),
        micro_batch_size: int | None = None,
        all_captions: bool = False,
        rank: int = 0,
        num_ranks: int = 1,
    ) -> None:
        super().__init__(
            sampler.batch_size,
            sampler.num_items,
            micro_batch_size=micro_batch_size,
            rank=rank,
            num_ranks=num_ranks,
        )
        self.vision = vision
        self.captions = captions
        self.sampler = sampler
        self.keys = keys
        self.all_captions = all_captions

    def read(self, step: int, places: slice | NDArray[np.int64]) -> Batch:
        """Make a batch of the pairs at some places of a step's batch."""
        pairs = self.sampler.indices(step)[places]
        epoch = self.sampler.epoch(step)
        vision, read, skipped = self.vision.read(pairs, epoch)
        owners = None
        if self.all_captions:
            captions, rows = self.captions.of(read)
            owners = torch.from_numpy(rows)
        elif isinstance(self.sampler, CuratedSampler):
            captions = self.sampler.captions(step)[places][np.isin(pairs, read)]
        else:
            captions = self.captions.draw(read, epoch)
        ids, lengths = self.captions.gather(captions)
        texts = torch.from_numpy(ids), torch.from_numpy(lengths)
        return Batch(vision, *texts, owners, None, skipped)

    def names(self, step: int) -> list[str]:
        """Return the keys of the pairs of a step."""
        return [self.keys[pair] for pair in self.sampler.indices(step).tolist()]


class MixedBatches(BatchReader):
    """Batches of several sources, each of which gives as many pairs to every batch.

    The pairs of a source are spread over the batch, so that each process and each micro-batch gets
    its share of them.

    Args:
        sources: Each with the number of its pairs as batch size, for one process.
        micro_batch_size: Pairs a micro-batch; the last one of a step may be smaller.
        rank: The number of this process.
        num_ranks: How many processes share a batch.
    """

    def __init__(
        self,
        sources: Sequence[BatchReader],
        *,
        micro_batch_size: int | None = None,
        rank: int = 0,
        num_ranks: int = 1,
    ) -> None:
        counts = [source.batch_size for source in sources]
        super().__init__(
            sum(counts),
            sum(source.num_items for source in sources),
            micro_batch_size=micro_batch_size,
            rank=rank,
            num_ranks=num_ranks,
        )
        self.sources = sources
        order = np.argsort(
            np.concatenate([(np.arange(n) + 0.5) / n for n in counts]), kind="stable"
        )
        self._owner = np.repeat(np.arange(len(counts)), counts)[order]
        self._place = np.concatenate([np.arange(n) for n in counts])[order]

    def read(self, step: int, places: slice | NDArray[np.int64]) -> Batch:
        """Make a batch of the pairs at some places of a step's batch, source by source."""
        owner, place = self._owner[places], self._place[places]
        return _join(
            [
                source.read(step, place[owner == number])
                for number, source in enumerate(self.sources)
                if (owner == number).any()
            ]
        )

    def parts(self) -> list[BatchReader]:
        """Return the sources."""
        return list(self.sources)

    def names(self, step: int) -> list[str]:
        """Return what stands in a step's batch."""
        named = [iter(source.names(step)) for source in self.sources]
        return [next(named[owner]) for owner in self._owner]

    def num_expected(self, step: int) -> int:
        """Return of how many pairs a share may be lost when ``step`` steps are done."""
        return sum(source.num_expected(step) for source in self.sources)


def hear_parent_alone(number: int) -> None:
    """Let a data worker end when its parent says so, and not by a signal to the process group.

    Slurm, systemd and ``timeout`` stop every process of a job at once; the parent then still needs
    the batches of its last step.
    """
    del number
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_by_parent, daemon=True).start()


def _end_by_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


def divide(batch_size: int, weights: Sequence[float]) -> list[int]:
    """Divide a batch by weights, to whole numbers (largest remainder).

    Raises:
        ConfigError: If a weight is too small for a single pair.
    """
    exact = batch_size * np.asarray(weights, dtype=np.float64) / sum(weights)
    counts = np.floor(exact).astype(np.int64)
    left = batch_size - int(counts.sum())
    counts[np.argsort(counts - exact, kind="stable")[:left]] += 1
    if counts.min() == 0:
        raise ConfigError(
            f"batch_size {batch_size}: the weights {', '.join(f'{w:g}' for w in weights)} leave "
            "nothing of it for one of the sources: raise its weight or batch_size."
        )
    return [int(count) for count in counts]


def _join(parts: Sequence[Batch]) -> Batch:
    """Return the pairs of several batches as one."""
    starts = np.cumsum([0, *map(len, parts)]).tolist()
    length = max(part.token_ids.shape[1] for part in parts)
    owners = [
        part.owners + start
        for part, start in zip(parts, starts[:-1], strict=True)
        if part.owners is not None
    ]
    made = [torch.full((len(part), 2), -1) if part.made is None else part.made for part in parts]
    return Batch(
        join_vision([part.vision for part in parts]),
        torch.cat([F.pad(part.token_ids, (0, length - part.token_ids.shape[1])) for part in parts]),
        torch.cat([part.lengths for part in parts]),
        torch.cat(owners) if owners else None,
        torch.cat(made),
        tuple(skip for part in parts for skip in part.skipped),
    )


def join_vision(parts: Sequence[Tensor | Tokens]) -> Tensor | Tokens:
    """Return the pictures or the tokens of several batches as one."""
    tokens = [part for part in parts if isinstance(part, Tokens)]
    if not tokens:
        return torch.cat([part for part in parts if isinstance(part, Tensor)])
    return Tokens(
        torch.cat([part.cls for part in tokens]),
        torch.cat([part.registers for part in tokens]),
        torch.cat([part.patches for part in tokens]),
        tokens[0].grid,
    )
