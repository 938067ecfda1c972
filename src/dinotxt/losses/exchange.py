"""How processes that each hold a part of a batch compare every image with every text.

A process keeps its images and sees the texts of all others, either as they travel round a ring
(memory O(N / W), after DINOv3's text loss) or gathered at once (memory O(N), fewer messages).
One process alone is a ring of one. Gloo and NCCL run the same code.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

Add = Callable[[int, Tensor, Tensor], None]
"""Called with a process, its texts ``[m, E]`` and the sums ``[m, E]`` to add to, in place."""
_TEXTS, _SUMS = 0, 1  # tags of messages


class Exchange(Protocol):
    """Gives a loss the texts of every process, and the sums over processes.

    Attributes:
        rank: The number of this process.
        size: How many there are.
    """

    rank: int
    size: int

    def counts(self, *numbers: int, device: torch.device) -> list[tuple[int, ...]]:
        """Return the numbers of every process."""

    def total(self, part: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes."""

    def logsumexp(self, part: Tensor) -> Tensor:
        """Return the logarithm of the sum of exponentials over all processes."""

    def blocks(self, texts: Tensor, lengths: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
        """Yield every process and its texts; ``lengths`` says how many each has."""

    def sums(self, texts: Tensor, lengths: Sequence[int], add: Add) -> Tensor:
        """Let every process add to the sums of every text; return those of the own, ``[m, E]``."""


class _Collectives:
    """The sums over a group of processes; None: this process alone."""

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self.group = group
        self.rank = 0 if group is None else dist.get_rank(group)
        self.size = 1 if group is None else dist.get_world_size(group)

    def counts(self, *numbers: int, device: torch.device) -> list[tuple[int, ...]]:
        """Return the numbers of every process."""
        if self.group is None:
            return [numbers]
        own = torch.tensor(numbers, device=device)
        parts = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(parts, own, group=self.group)
        return [tuple(part.tolist()) for part in parts]

    def total(self, part: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes."""
        if self.group is not None:
            dist.all_reduce(part, group=self.group)
        return part

    def logsumexp(self, part: Tensor) -> Tensor:
        """Return the logarithm of the sum of exponentials over all processes."""
        if self.group is None:
            return part
        largest = part.clone()
        dist.all_reduce(largest, dist.ReduceOp.MAX, group=self.group)
        return self.total((part - largest).exp_()).log_().add_(largest)


class Ring(_Collectives):
    """Passes texts to the next process while it works on those it has.

    Args:
        group: The processes; None: this one alone.
    """

    def blocks(self, texts: Tensor, lengths: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
        """Yield every process and its texts, the own first."""
        block = texts.contiguous()
        for hop in range(self.size):
            owner = (self.rank - hop) % self.size
            is_last = hop == self.size - 1
            arriving = None if is_last else self._pass(block, lengths[owner - 1], _TEXTS)
            yield owner, block
            if arriving is not None:
                block = arriving.wait()

    def sums(self, texts: Tensor, lengths: Sequence[int], add: Add) -> Tensor:
        """Let the sums travel one hop behind their texts, until they are home."""
        arriving: _Transfer | None = None
        total = texts
        for owner, block in self.blocks(texts, lengths):
            total = torch.zeros_like(block)
            add(owner, block, total)
            if arriving is not None:
                total += arriving.wait()
            if self.group is not None:
                arriving = self._pass(total, lengths[owner - 1], _SUMS)
        return total if arriving is None else arriving.wait()

    def _pass(self, block: Tensor, length: int, tag: int) -> "_Transfer":
        """Send a block to the next process and receive one of ``length`` rows."""
        assert self.group is not None
        received = block.new_empty(length, *block.shape[1:])
        peers = [dist.get_global_rank(self.group, (self.rank + i) % self.size) for i in (1, -1)]
        operations = [
            dist.P2POp(dist.isend, block, peers[0], self.group, tag),
            dist.P2POp(dist.irecv, received, peers[1], self.group, tag),
        ]
        return _Transfer(dist.batch_isend_irecv(operations), block, received)


@dataclass(frozen=True, slots=True)
class _Transfer:
    """Messages under way; both tensors live until they have arrived."""

    works: Sequence[dist.Work]
    sent: Tensor
    received: Tensor

    def wait(self) -> Tensor:
        """Return what has been received (NCCL may join all messages to one piece of work)."""
        for work in self.works:
            work.wait()
        return self.received


class Gather(_Collectives):
    """Holds the texts of all processes at once.

    Args:
        group: The processes; None: this one alone.
    """

    def blocks(self, texts: Tensor, lengths: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
        """Yield every process and its texts, in order."""
        if self.group is None:
            yield 0, texts
            return
        padded = texts.new_zeros(max(lengths), *texts.shape[1:])
        padded[: len(texts)] = texts
        blocks = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(blocks, padded, group=self.group)
        for owner, block in enumerate(blocks):
            yield owner, block[: lengths[owner]]

    def sums(self, texts: Tensor, lengths: Sequence[int], add: Add) -> Tensor:
        """Add up the sums of all texts over the processes and take the own."""
        totals = texts.new_zeros(sum(lengths), *texts.shape[1:])
        places = torch.split(totals, list(lengths))
        for owner, block in self.blocks(texts, lengths):
            add(owner, block, places[owner])
        self.total(totals)
        return places[self.rank]
