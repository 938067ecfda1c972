"""The state of a run on disk: checkpoints that are whole or absent, and exact resume.

They are written in the background: the run goes on while its last state goes to the disk.
"""

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml

from dinotxt.config import differences, dump_yaml, to_json
from dinotxt.errors import CheckpointError, ConfigError
from dinotxt.files import (
    atomic_path,
    check_own_folder,
    one_writer,
    read_mark,
    sha256_file,
    sync,
)
from dinotxt.models.weights import write_pickle
from dinotxt.training.distributed import World, join, part_of

CHECKPOINTS = "checkpoints"
SKIPPED = "skipped.jsonl"
_KIND = "train"
_HASH = ".sha256"
_STATE = "state.pt"
_NUM_PARTS = "num_parts"
_PREFIX = "step-"
# These keys change no number of the run, so a resumed run may change them.
_FREE_KEYS = (
    "output:",
    "data.num_workers:",
    "data.timeout:",
    "data.max_skipped:",
    "checkpoint.",
    "compute.parallel:",
    "compute.exchange:",
    "compute.compile:",
    "compute.activation_checkpointing:",
)


@contextmanager
def claimed(folder: Path, config: object) -> Iterator[None]:
    """Hold a run folder for writing, with the resolved configuration in it.

    A run that never reached a checkpoint has nothing to protect and may be begun differently.

    Raises:
        DataError: If the folder holds other files than a run's, or another process writes there.
        ConfigError: If the folder holds a run of another configuration; lists the differences.
    """
    mark = read_mark(folder)
    if mark is None or mark.kind != _KIND or mark.names:
        check_own_folder(folder, f"{CHECKPOINTS}/last")  # runs of earlier versions have no mark
    with one_writer(folder, _KIND):
        _claim(folder, config)
        yield


def _claim(folder: Path, config: object) -> None:
    path = folder / "config.yaml"
    if not Checkpoints(folder / CHECKPOINTS, keep=1).steps():
        (folder / SKIPPED).unlink(missing_ok=True)  # of an attempt that is begun anew
    elif path.exists():
        old = yaml.safe_load(path.read_text("utf-8"))
        changed = [
            line for line in differences(old, to_json(config)) if not line.startswith(_FREE_KEYS)
        ]
        if changed:
            lines = "\n  ".join(changed)
            raise ConfigError(
                f"{folder} holds a run with another configuration; choose another `output` or "
                f"undo these changes:\n  {lines}"
            )
    with atomic_path(path) as temporary:
        temporary.write_text(dump_yaml(config), "utf-8")


class Checkpoints:
    """The folder of resumable checkpoints: ``step-N/`` and a file ``last`` that names the newest.

    A checkpoint is written under another name, synced and then renamed, so a kill or a full
    disk at any moment leaves the one before it valid.

    Args:
        folder: Where they are.
        keep: How many to keep.
    """

    def __init__(self, folder: Path, *, keep: int) -> None:
        self.folder = folder
        self.keep = keep

    def path(self, step: int) -> Path:
        """Return the folder of the checkpoint after ``step`` steps."""
        return self.folder / f"{_PREFIX}{step}"

    def steps(self) -> list[int]:
        """Return the steps of the checkpoints that exist, oldest first."""
        found = self.folder.glob(f"{_PREFIX}*/{_STATE}")
        names = [path.parent.name.removeprefix(_PREFIX) for path in found]
        return sorted(int(name) for name in names if name.isdecimal())

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Write a checkpoint of one process and delete those beyond ``keep``.

        Raises:
            CheckpointError: If it cannot be written (such as on a full disk); the older ones
                stay valid.
        """
        self.stage(step)
        reason = self.write(step, part_of(state, 0, 1))
        self.commit(step, [reason])

    def stage(self, step: int) -> None:
        """Make the empty folder that becomes a checkpoint.

        Raises:
            CheckpointError: If it cannot be made.
        """
        try:
            shutil.rmtree(self._staged(step), ignore_errors=True)
            self._staged(step).mkdir(parents=True)
        except OSError as error:
            raise CheckpointError(self._failure(step, str(error))) from error

    def write(self, step: int, part: Mapping[str, Any], rank: int = 0, size: int = 1) -> str | None:
        """Write one process's part of a checkpoint; return why it failed, or None."""
        content = {**part, _NUM_PARTS: size} if size > 1 and rank == 0 else part
        path = self._staged(step) / _part_name(rank)
        try:
            write_pickle(_canonical(content), path)
            with atomic_path(f"{path}{_HASH}") as temporary:
                temporary.write_text(sha256_file(path), "ascii")
        except OSError as error:
            return str(error)
        return None

    def commit(self, step: int, reasons: Sequence[str | None]) -> None:
        """Make a checkpoint valid when all its parts are on the disk, and delete old ones.

        Raises:
            CheckpointError: If a part failed for one of the reasons, or the folder cannot be
                renamed.
        """
        try:
            for reason in reasons:
                if reason is not None:
                    raise OSError(reason)
            sync(self._staged(step))
            shutil.rmtree(self.path(step), ignore_errors=True)
            self._staged(step).rename(self.path(step))
            sync(self.folder)
            with atomic_path(self.folder / "last") as pointer:
                pointer.write_text(self.path(step).name + "\n", "utf-8")
        except OSError as error:
            shutil.rmtree(self._staged(step), ignore_errors=True)
            raise CheckpointError(self._failure(step, str(error))) from error
        for old in self.steps()[: -self.keep]:
            shutil.rmtree(self.path(old))

    def load(self) -> dict[str, Any] | None:
        """Read the newest checkpoint, or return None where there is none.

        Raises:
            CheckpointError: If it is damaged.
        """
        steps = self.steps()
        if not steps:
            return None
        path = self.path(steps[-1])
        try:
            first = _read(path / _part_name(0))
            others = range(1, first.pop(_NUM_PARTS, 1))
            state = join([first, *(_read(path / _part_name(rank)) for rank in others)])
        except Exception as error:
            raise CheckpointError(
                f"{path} cannot be read ({error}): delete that folder to go on from the "
                f"checkpoint before it."
            ) from error
        return state

    def _staged(self, step: int) -> Path:
        return self.folder / f".{_PREFIX}{step}.tmp"

    def _failure(self, step: int, reason: str) -> str:
        steps = self.steps()
        kept = f"that of step {steps[-1]} is still valid" if steps else "there is none before it"
        return (
            f"the checkpoint of step {step} was not written ({reason}); {kept}. Free space in "
            f"{self.folder} and run the same command to go on."
        )


def _part_name(rank: int) -> str:
    """Return the file of a process: the first one's makes a folder a checkpoint."""
    return _STATE if rank == 0 else f"state-{rank}.pt"


def _read(path: Path) -> dict[str, Any]:
    known = Path(f"{path}{_HASH}")
    if known.is_file() and known.read_text("ascii") != sha256_file(path):  # none before version 2
        raise ValueError(f"{path.name} is damaged: its SHA-256 is another one")
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return content


def _canonical(node: Any) -> Any:
    """Return equal content whose pickle has equal bytes.

    Pickle writes an object that is there twice as a reference, and a state that was read back
    shares other strings and tuples than one that was made.
    """
    if isinstance(node, Mapping):
        return {_canonical(key): _canonical(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return type(node)(_canonical(value) for value in node)
    return sys.intern(node) if type(node) is str else node


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
