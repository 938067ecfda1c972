"""The processes of a run: torchrun starts them, and here they meet.

How many there are is a property of the launch, never of the configuration: the same command
under ``torchrun`` trains the same model faster. Without it there is one process, and nothing of
``torch.distributed`` is used.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from dinotxt.errors import BackendError, DinotxtError
from dinotxt.losses import Exchange, Gather, Ring
from dinotxt.training.config import Exchanged

Result = TypeVar("Result")

_LAUNCH = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_PATIENCE = timedelta(hours=2)  # the others wait so long while the first one evaluates
_LOST = ("gloo", "Connection closed by peer", "Connection reset by peer", "Socket Timeout")


@dataclass(frozen=True, slots=True)
class World:
    """The processes of a run and what they tell each other; by default this one is alone.

    Attributes:
        device: Where this process computes.
        rank: Its number.
        size: How many there are.
        control: Carries small messages between the processes' CPUs; None: alone.
    """

    device: torch.device
    rank: int = 0
    size: int = 1
    control: dist.ProcessGroup | None = None

    @property
    def is_first(self) -> bool:
        """Whether this process writes what all have in common."""
        return self.rank == 0

    @property
    def group(self) -> dist.ProcessGroup | None:
        """The group that carries tensors on the device; None: alone."""
        return None if self.control is None else dist.group.WORLD

    def exchange(self, kind: Exchanged) -> Exchange:
        """Return how the loss compares the features of all processes."""
        return Ring(self.group) if kind == "ring" else Gather(self.group)

    def twin(self) -> "World":
        """Return the same processes with a channel of their own, for another thread."""
        return self if self.control is None else replace(self, control=_channel())

    def any(self, flag: bool) -> bool:
        """Tell if the flag is set in any process."""
        if self.control is None:
            return flag
        flags = torch.tensor(int(flag))
        dist.all_reduce(flags, dist.ReduceOp.MAX, group=self.control)
        return bool(flags.item())

    def counts(self, number: int) -> list[int]:
        """Return the number that each process gives."""
        if self.control is None:
            return [number]
        own = torch.tensor([number])
        parts = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(parts, own, group=self.control)
        return [int(part) for part in parts]

    def gather(self, item: Result) -> list[Result]:
        """Return what each process gives; it is pickled."""
        if self.control is None:
            return [item]
        items: list[Result] = [item] * self.size
        dist.all_gather_object(items, item, group=self.control)
        return items

    def first(self, call: Callable[[], Result]) -> Result:
        """Call a function in the first process; all get its result, or its ``DinotxtError``.

        No process goes on before all have come here.
        """
        outcome: tuple[Result | None, DinotxtError | None] = None, None
        if self.is_first:
            try:
                outcome = call(), None
            except DinotxtError as error:
                if self.control is None:
                    raise
                outcome = None, error
        result, failure = self.gather(outcome)[0]
        if failure is not None:
            raise failure
        return cast("Result", result)

    def collect(self, items: Sequence[Result]) -> list[Result]:
        """Return the items of all processes, most often none."""
        if not self.any(bool(items)):
            return []
        return [item for part in self.gather(list(items)) for item in part]

    def equalize(self, tensors: Iterable[Tensor]) -> None:
        """Give every process the first one's values, in place."""
        if self.control is not None:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors by their means over the processes, in place."""
        if self.control is not None:
            for tensor in tensors:
                dist.all_reduce(tensor)
                tensor /= self.size

    def average_rows(self, tensor: Tensor, rows: Tensor) -> None:
        """Replace some rows of a tensor ``[R, D]`` by their means over the processes, in place."""
        rows = rows.to(tensor.device)
        part = tensor[rows]
        self.average([part])
        tensor[rows] = part


@contextmanager
def joined(device: torch.device) -> Iterator[World]:
    """Meet the other processes that ``torchrun`` started, if it did.

    Args:
        device: Where to compute; of several GPUs each process takes that of its local rank.

    Raises:
        BackendError: If the device is for one process only, or another process is gone.
    """
    if _is_alone():
        yield World(device)
        return
    if device.type not in {"cpu", "cuda"}:
        raise BackendError(f"{device.type} cannot be shared by processes: add `--device cpu`.")
    if device.type == "cuda":
        local_rank = int(os.environ.get("LOCAL_RANK", 0))
        device = torch.device("cuda", local_rank if device.index is None else device.index)
        torch.cuda.set_device(device)
    is_own = not dist.is_initialized()
    try:
        if is_own:
            _meet("nccl" if device.type == "cuda" else "gloo")
        yield World(device, dist.get_rank(), dist.get_world_size(), _channel())
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and not any(t in str(error) for t in _LOST):
            raise
        raise BackendError(
            f"another process of the run is gone or hangs ({str(error).splitlines()[0]}): look at "
            "what it said last. The same command goes on from the last checkpoint."
        ) from error
    if is_own:  # after an error the others may be gone, and leaving in order would wait for them
        dist.destroy_process_group()


def _is_alone() -> bool:
    """Tell if there is nobody to meet, also where ``torchrun`` started one process."""
    if dist.is_initialized():
        return dist.get_world_size() == 1
    launched = all(name in os.environ for name in _LAUNCH)
    return not launched or os.environ["WORLD_SIZE"] == "1"


def _meet(backend: str) -> None:
    """Join the group of this attempt: after a restart the store still has the lost one's keys."""
    store, rank, size = next(rendezvous("env://"))
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    own = PrefixStore(f"attempt-{attempt}", store)
    dist.init_process_group(backend, store=own, rank=rank, world_size=size)


def _channel() -> dist.ProcessGroup:
    channel = dist.new_group(backend="gloo", timeout=_PATIENCE)
    assert isinstance(channel, dist.ProcessGroup)  # every process is a member
    return channel
