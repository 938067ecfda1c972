"""The gradients of copies (DDP), averaged over the processes to the same bits whoever asks.

DDP lays its buckets out anew after the first step. The usual ring adds in an order that depends on
the place in a bucket, and a resumed run, whose first step is another one, would round otherwise.
So each process sums one share of a bucket, in the order of the processes. Shares travel while the
backward pass goes on, and their means after it; as much is sent as in a ring.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dinotxt.training.distributed import World

_SHARES, _MEANS = 3, 4  # tags of messages, beside those of the loss
_LARGE = 4096  # rows of a table that pay for being looked at


@dataclass(frozen=True, slots=True)
class _Bucket:
    """A bucket under way: the share of each process, and what came of the own one by process."""

    shares: Sequence[Tensor]
    received: Sequence[Tensor]
    works: Sequence[dist.Work]


class Gradients:
    """Averages the gradients of copies: buckets, and the rows of large embedding tables.

    Args:
        towers: The towers as ``parallelize`` gave them; those that are no copies are left alone.
        world: The processes.
    """

    def __init__(self, towers: nn.Module, world: World) -> None:
        self._world = world
        self._buckets: list[_Bucket] = []
        self._space: dict[int, Tensor] = {}
        self._rows: dict[Tensor, list[Tensor]] = {}
        if isinstance(towers, DistributedDataParallel):
            towers.register_comm_hook(self, _send)
            for table in large_tables(towers.module).values():
                self._rows[table.weight] = []
                table.register_forward_hook(self._look_up)

    def finish(self) -> None:
        """Wait until every gradient of a step is the mean over the processes."""
        works: list[dist.Work] = []
        for bucket in self._buckets:
            _wait(bucket.works)
            own = bucket.shares[self._world.rank]
            _mean(bucket.received, own)
            works += self._exchange([own] * self._world.size, bucket.shares, _MEANS)
        _wait(works)
        self._buckets.clear()
        if self._rows:
            self._average_rows()

    def send(self, bucket: dist.GradBucket) -> None:  # type: ignore[name-defined]
        """Give every process its share of a bucket."""
        values = bucket.buffer()
        shares = values.tensor_split(self._world.size)
        own = shares[self._world.rank]
        received = list(self._room(bucket.index(), own))
        received.insert(self._world.rank, own)
        self._buckets.append(_Bucket(shares, received, self._exchange(shares, received, _SHARES)))

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

    def _look_up(self, table: nn.Embedding, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        if torch.is_grad_enabled():
            self._rows[table.weight].append(inputs[0].flatten())

    def _average_rows(self) -> None:
        """Average the rows that any process looked up; all where one did so by another way."""
        own = [_touched(table, rows) for table, rows in self._rows.items()]
        for table, *parts in zip(self._rows, *self._world.gather(own), strict=True):
            self._rows[table].clear()
            found = [part for part in parts if part is not None]
            if found:
                if table.grad is None:
                    table.grad = torch.zeros_like(table)
                self._world.average_rows(table.grad, torch.unique(torch.cat(found)))


def large_tables(towers: nn.Module) -> dict[str, nn.Embedding]:
    """Return the tables that copies leave out by their names: a step touches few of their rows."""
    return {
        name: module
        for name, module in towers.named_modules()
        if isinstance(module, nn.Embedding)
        and module.num_embeddings >= _LARGE
        and module.weight.requires_grad
    }


def _touched(table: Tensor, looked_up: Sequence[Tensor]) -> Tensor | None:
    """Return the rows of a table that may have a gradient; None: there is none at all."""
    if table.grad is None:
        return None
    if not looked_up:
        return torch.arange(len(table))
    rows: Tensor = torch.unique(torch.cat(list(looked_up)))
    return rows.cpu()


def _send(
    gradients: Gradients,
    bucket: dist.GradBucket,  # type: ignore[name-defined]
) -> torch.futures.Future[Tensor]:
    """Begin with a bucket; DDP is told that it is done, and ``finish`` does the rest."""
    gradients.send(bucket)
    done: torch.futures.Future[Tensor] = torch.futures.Future()
    done.set_result(bucket.buffer())
    return done


def _mean(parts: Sequence[Tensor], own: Tensor) -> None:
    """Put the mean of the parts, added in their order, into ``own``, which is one of them."""
    first, second, *others = parts
    total = torch.add(first, second, out=second if first is own else first)
    for part in others:
        total += part
    torch.div(total, len(parts), out=own)


def _wait(works: Sequence[dist.Work]) -> None:
    for work in works:
        work.wait()
