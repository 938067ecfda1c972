"""The batches of a run: a pure function of (seed, step), read ahead by workers or a thread."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dinotxt.data.curated_sampler import CuratedSampler
from dinotxt.data.prefetch import prefetch
from dinotxt.data.sampler import EpochSampler
from dinotxt.models.tokens import Tokens
from dinotxt.results.skip import Skip
from dinotxt.training.captions import CaptionTable
from dinotxt.training.vision import move

_READ_AHEAD = 2


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


class VisionSource(Protocol):
    """Gives the vision side of pairs."""

    def read(
        self, pairs: NDArray[np.int64], epoch: int
    ) -> tuple[Tensor | Tokens, NDArray[np.int64], tuple[Skip, ...]]:
        """Return the pictures or tokens, which of ``pairs`` they are, and what was skipped."""


class Batches(Dataset[Batch]):
    """Every micro-batch of a run by its number: ``step * chunks + chunk``.

    Args:
        vision: The pictures or tokens.
        captions: The captions.
        sampler: The order; one of a curation also names the captions.
        micro_batch_size: Pairs a micro-batch; the last one of a step may be smaller.
        all_captions: Give all captions of a picture rather than one.
    """

    def __init__(
        self,
        vision: VisionSource,
        captions: CaptionTable,
        sampler: EpochSampler | CuratedSampler,
        *,
        micro_batch_size: int,
        all_captions: bool = False,
    ) -> None:
        self.vision = vision
        self.captions = captions
        self.sampler = sampler
        self.micro_batch_size = micro_batch_size
        self.all_captions = all_captions
        self.chunks = -(-sampler.batch_size // micro_batch_size)

    def __getitem__(self, number: int) -> Batch:
        """Make a micro-batch."""
        step, chunk = divmod(number, self.chunks)
        start = chunk * self.micro_batch_size
        window = slice(start, start + self.micro_batch_size)
        pairs = self.sampler.indices(step)[window]
        epoch = self.sampler.epoch(step)
        vision, read, skipped = self.vision.read(pairs, epoch)
        owners = None
        if self.all_captions:
            captions, rows = self.captions.of(read)
            owners = torch.from_numpy(rows)
        elif isinstance(self.sampler, CuratedSampler):
            captions = self.sampler.captions(step)[window][np.isin(pairs, read)]
        else:
            captions = self.captions.draw(read, epoch)
        ids, lengths = self.captions.gather(captions)
        return Batch(vision, torch.from_numpy(ids), torch.from_numpy(lengths), owners, skipped)

    def steps(self, start: int, stop: int, *, num_workers: int) -> Iterator[list[Batch]]:
        """Yield the micro-batches of each step, read ahead.

        Args:
            start: The first step.
            stop: The step after the last.
            num_workers: Processes that read; 0 uses a thread of this process.
        """
        numbers = range(start * self.chunks, stop * self.chunks)
        if num_workers:
            loader = DataLoader(self, batch_size=None, sampler=numbers, num_workers=num_workers)
            batches: Iterator[Batch] = iter(loader)
        else:
            batches = prefetch(self.__getitem__, numbers, num_workers=1, ahead=_READ_AHEAD)
        for _ in range(start, stop):
            yield [next(batches) for _ in range(self.chunks)]
