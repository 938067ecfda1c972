"""How the processes of a run average a bucket of gradients: by messages, or in shared memory.

Both add in the order of the processes and give the same bits. A bucket travels while the backward
pass fills the next one.
"""

import mmap
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from dinotxt.training.distributed.world import World

_SHARES, _MEANS, _READY = 3, 4, 5  # tags of messages, beside those of the loss
BETWEEN = 64  # bytes that a bucket may take beyond its own in shared memory
_MEMORY = Path("/dev/shm")


class Carrier(Protocol):
    """Replaces buckets, which every process gives in the same order, by their means."""

    def send(self, number: int, values: Tensor) -> None:
        """Begin with a bucket, ``[n]``; its number is its place among those of a step."""

    def finish(self) -> None:
        """Wait until all buckets are means."""


def carrier(world: World, num_bytes: int) -> Carrier:
    """Return shared memory where all processes have it in common, messages elsewhere.

    Args:
        world: The processes.
        num_bytes: Of all buckets together, with ``BETWEEN`` for each.
    """
    if world.size > 1 and world.device.type == "cpu":
        space = _common_memory(world, num_bytes)
        if space is not None:
            return SharedMemory(world, space)
    return Messages(world)


@dataclass(frozen=True, slots=True)
class _Bucket:
    """A bucket under way: what the mean of ``parts``, one a process, is put into."""

    values: Sequence[Tensor]
    parts: Sequence[Tensor]
    works: Sequence[dist.Work]


class Messages:
    """Gives each process a share of every bucket to add up; as much is sent as in a ring."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._sent: _Bucket | None = None
        self._means: list[dist.Work] = []
        self._space: dict[int, Tensor] = {}

    def send(self, number: int, values: Tensor) -> None:
        """Give every process its share of a bucket, and then the mean of the one before."""
        shares = values.tensor_split(self._world.size)
        own = shares[self._world.rank]
        received = list(self._room(number, own))
        received.insert(self._world.rank, own)
        self._pass_on(_Bucket(shares, received, self._exchange(shares, received, _SHARES)))

    def finish(self) -> None:
        """Wait until all buckets are means."""
        self._pass_on(None)
        _wait(self._means)
        self._means.clear()

    def _pass_on(self, following: _Bucket | None) -> None:
        """Begin to send the mean of the own share of the last bucket; ``following`` is the next.

        Every process does so at the same place among its buckets, as NCCL wants it.
        """
        sent, self._sent = self._sent, following
        if sent is not None:
            _wait(sent.works)
            own = sent.values[self._world.rank]
            _mean(sent.parts, own)
            self._means += self._exchange([own] * self._world.size, sent.values, _MEANS)

    def _room(self, number: int, share: Tensor) -> Sequence[Tensor]:
        """Return room for the same share of each other process, used again at the next step."""
        space = self._space.get(number)
        if space is None or space.shape[1:] != share.shape or space.dtype != share.dtype:
            space = share.new_empty(self._world.size - 1, *share.shape)
            self._space[number] = space
        return space.unbind()

    def _exchange(
        self, sent: Sequence[Tensor], received: Sequence[Tensor], tag: int
    ) -> list[dist.Work]:
        """Begin to send a tensor to each other process and to receive one from each."""
        rank, size = self._world.rank, self._world.size
        operations = []
        for distance in range(1, size):
            target, source = (rank + distance) % size, (rank - distance) % size
            if sent[target].numel():
                operations.append(dist.P2POp(dist.isend, sent[target], target, tag=tag))
            if received[source].numel():
                operations.append(dist.P2POp(dist.irecv, received[source], source, tag=tag))
        return dist.batch_isend_irecv(operations) if operations else []


class SharedMemory:
    """Lets every process read the buckets of the others: one copy in place of two sockets.

    A step's buckets lie side by side. No process begins the next step's before all have read
    these, since the loss of that step needs the features of all.

    Args:
        world: The processes, on one machine.
        space: ``[processes, bytes]`` uint8, the same memory in each.
    """

    def __init__(self, world: World, space: Tensor) -> None:
        self._world = world
        self._space = space
        self._used = 0
        self._sent: _Bucket | None = None
        self._flags = torch.zeros(world.size, dtype=torch.uint8)

    def send(self, number: int, values: Tensor) -> None:
        """Show a bucket to the others, and take the mean of the one before."""
        del number
        begin, end = self._used, self._used + values.numel() * values.element_size()
        self._used = -(-end // BETWEEN) * BETWEEN
        parts = self._space[:, begin:end].view(values.dtype).unbind()
        parts[self._world.rank].copy_(values)
        self._take(_Bucket([values], parts, self._tell()))

    def finish(self) -> None:
        """Wait until all buckets are means."""
        self._take(None)
        self._used = 0

    def _take(self, following: _Bucket | None) -> None:
        sent, self._sent = self._sent, following
        if sent is not None:
            _wait(sent.works)
            _mean(sent.parts, sent.values[0])

    def _tell(self) -> list[dist.Work]:
        """Tell each other process that a bucket can be read, and begin to hear it from each."""
        own = self._flags[self._world.rank :][:1]
        operations = []
        for other in range(self._world.size):
            if other != self._world.rank:
                heard = self._flags[other:][:1]
                operations.append(dist.P2POp(dist.isend, own, other, tag=_READY))
                operations.append(dist.P2POp(dist.irecv, heard, other, tag=_READY))
        return dist.batch_isend_irecv(operations)


def _common_memory(world: World, num_bytes: int) -> Tensor | None:
    """Return ``[processes, bytes]`` in memory that all share; None: they are on several machines.

    The file has no name any more when this returns, so that it ends with the processes.
    """
    row = -(-num_bytes // BETWEEN) * BETWEEN
    path = world.first(lambda: _reserve(row * world.size))
    space = None if path is None else _map(path)
    is_common = not world.any(space is None)
    if path is not None and world.is_first:
        path.unlink()
    return space.view(world.size, row) if space is not None and is_common else None


def _reserve(num_bytes: int) -> Path | None:
    """Return a new file in memory; None: there is no room."""
    try:
        handle, name = tempfile.mkstemp(prefix="dinotxt-", dir=_MEMORY)
    except OSError:
        return None
    try:
        os.posix_fallocate(handle, 0, num_bytes)
    except OSError:
        Path(name).unlink()
        return None
    finally:
        os.close(handle)
    return Path(name)


def _map(path: Path) -> Tensor | None:
    try:
        with path.open("r+b") as file:
            return torch.frombuffer(mmap.mmap(file.fileno(), 0), dtype=torch.uint8)
    except OSError:  # the first process is on another machine
        return None


def _mean(parts: Sequence[Tensor], out: Tensor) -> None:
    """Put the mean of the parts, added in their order, into ``out``, which may be one of them.

    Where it is a later one than the second, the first is written to as well.
    """
    first, second, *others = parts
    is_later = any(part is out for part in others)
    total = torch.add(first, second, out=first if is_later else out)
    for part in others:
        total += part
    torch.div(total, len(parts), out=out)


def _wait(works: Sequence[dist.Work]) -> None:
    for work in works:
        work.wait()
