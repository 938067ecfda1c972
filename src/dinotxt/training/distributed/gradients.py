"""The gradients of copies (DDP), averaged over the processes to the same bits whoever asks.

DDP lays its buckets out anew after the first step. The usual ring adds in an order that depends on
the place in a bucket, and a resumed run, whose first step is another one, would round otherwise.
So a carrier adds them in the order of the processes.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dinotxt.training.distributed.carriers import BETWEEN, Carrier, carrier
from dinotxt.training.distributed.world import World

_LARGE = 4096  # rows of a table that pay for being looked at


class Gradients:
    """Averages the gradients of copies: buckets, and the rows of large embedding tables.

    Args:
        towers: The towers as ``parallelize`` gave them; those that are no copies are left alone.
        world: The processes.
    """

    def __init__(self, towers: nn.Module, world: World) -> None:
        self._world = world
        self._carrier: Carrier | None = None
        self._rows: dict[Tensor, list[Tensor]] = {}
        if isinstance(towers, DistributedDataParallel):
            tables = large_tables(towers.module)
            self._carrier = carrier(world, _size(towers.module, apart=tables))
            towers.register_comm_hook(self._carrier, _send)
            for table in tables.values():
                self._rows[table.weight] = []
                table.register_forward_hook(self._look_up)

    def finish(self) -> None:
        """Wait until every gradient of a step is the mean over the processes."""
        if self._carrier is not None:
            self._carrier.finish()
        if self._rows:
            self._average_rows()

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


def _size(towers: nn.Module, apart: Mapping[str, nn.Embedding]) -> int:
    """Return the bytes of all gradients but those of some tables, and room between buckets."""
    tables = {id(table.weight) for table in apart.values()}
    return sum(
        value.numel() * value.element_size() + BETWEEN
        for value in towers.parameters()
        if value.requires_grad and id(value) not in tables
    )


def _send(
    carrier: Carrier,
    bucket: dist.GradBucket,  # type: ignore[name-defined]
) -> torch.futures.Future[Tensor]:
    """Begin with a bucket; DDP is told that it is done, and ``finish`` does the rest."""
    carrier.send(bucket.index(), bucket.buffer())
    done: torch.futures.Future[Tensor] = torch.futures.Future()
    done.set_result(bucket.buffer())
    return done
