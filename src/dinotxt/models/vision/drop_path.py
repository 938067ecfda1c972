"""Stochastic depth that skips a residual branch for a subset of the batch, as DINOv2 does it.

Exactly ``max(int((1 - rate) * B), 1)`` samples take the branch and its output grows by B over
that number, so no work is spent on the others.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import LongTensor, Tensor

_PHILOX_BLOCK = 4  # numbers that one value of the counter gives
_DROP_STREAM, _GRAM_STREAM = 0x70617463, 0x6772616D  # no block has these numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class SubsetDraw:
    """Which samples of a global batch take a branch: a pure function of seed and step.

    A chunk or a process that holds the samples ``start .. start + size`` of the global batch gets
    its own part of the same draw, so results do not depend on how the batch is split.
    """

    seed: int
    step: int
    global_batch: int
    start: int
    size: int

    def kept(self, block: int, branch: int, rate: float) -> tuple[LongTensor, float]:
        """Return the local indices that take the branch, ascending, and the scale of its output.

        Args:
            block: Number of the block.
            branch: 0 for attention, 1 for the feed-forward part.
            rate: Share of the global batch that skips the branch.
        """
        num_kept = _num_kept(self.global_batch, rate)
        seeds = np.random.SeedSequence([self.seed, self.step, block, branch])
        generator = np.random.Generator(np.random.Philox(seeds))
        chosen = generator.permutation(self.global_batch)[:num_kept]
        local = np.sort(chosen[(chosen >= self.start) & (chosen < self.start + self.size)])
        indices = torch.from_numpy(local.astype(np.int64) - self.start)
        return LongTensor(indices), self.global_batch / num_kept

    def kept_patches(self, num_patches: int, rate: float) -> LongTensor:
        """Return the patches that stay of each sample, ascending, ``[size, kept]``.

        Args:
            num_patches: Patches of a sample.
            rate: Share of them that is dropped.
        """
        return self._patches(num_patches, _num_kept(num_patches, rate), _DROP_STREAM)

    def compared_patches(self, num_patches: int, count: int) -> LongTensor:
        """Return ``count`` patches of each sample for the gram loss, ascending; at most all."""
        return self._patches(num_patches, count, _GRAM_STREAM)

    def _patches(self, num_patches: int, count: int, stream: int) -> LongTensor:
        blocks = -(-num_patches // _PHILOX_BLOCK)
        seeds = np.random.SeedSequence([self.seed, self.step, stream])
        generator = np.random.Generator(np.random.Philox(seeds).advance(self.start * blocks))
        draws = generator.random((self.size, blocks * _PHILOX_BLOCK))[:, :num_patches]
        order = np.argsort(draws, axis=1)[:, :count]
        return LongTensor(torch.from_numpy(np.sort(order, axis=1)))


def random_subset(batch: int, rate: float) -> tuple[LongTensor, float]:
    """Draw the samples that take a branch from torch's own generator.

    Returns the indices and the scale of the branch's output.
    """
    num_kept = _num_kept(batch, rate)
    return LongTensor(torch.randperm(batch)[:num_kept]), batch / num_kept


def add_on_subset(
    tokens: Tensor, branch: Callable[[Tensor], Tensor], indices: LongTensor, scale: float
) -> Tensor:
    """Add ``scale * branch(tokens[indices])`` to the samples at ``indices``.

    ``tokens`` is [B, N, D]; the other samples stay as they are.
    """
    # With no sample at all the branch still runs, so that every process has all gradients.
    indices = LongTensor(indices.to(tokens.device))
    residual = branch(tokens.index_select(0, indices))
    return torch.index_add(tokens, 0, indices, residual.to(tokens.dtype), alpha=scale)


def _num_kept(batch: int, rate: float) -> int:
    return max(int((1 - rate) * batch), 1)
