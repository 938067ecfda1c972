"""Checkpoints in the background: the run goes on while the last state is written."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from dinotxt.training.distributed.shards import part_of
from dinotxt.training.distributed.world import World
from dinotxt.training.record.state import Checkpoints


class CheckpointWriter:
    """Copies a state to main memory and writes it in a thread; every process writes its part.

    A checkpoint is valid when the parts of all processes are synced to the disk, and not before.
    An error comes out at the next call, in all processes alike.

    Args:
        checkpoints: Where they go.
        world: The processes.
    """

    def __init__(self, checkpoints: Checkpoints, world: World) -> None:
        self.checkpoints = checkpoints
        self._world = world
        self._twin = world.twin()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Begin to write a checkpoint, after the one before it is done.

        Raises:
            CheckpointError: If that one could not be written.
        """
        self.wait()
        self._world.first(lambda: self.checkpoints.stage(step))
        part = part_of(state, self._world.rank, self._world.size)
        self._pending = self._pool.submit(self._write, step, part)

    def wait(self) -> None:
        """Wait until all is written.

        Raises:
            CheckpointError: If it could not be.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """Wait, and leave errors to those who called ``wait`` before."""
        self._pool.shutdown()

    def _write(self, step: int, part: dict[str, Any]) -> None:
        rank, size = self._world.rank, self._world.size
        reasons = self._twin.gather(self.checkpoints.write(step, part, rank, size))
        self._twin.first(lambda: self.checkpoints.commit(step, reasons))
