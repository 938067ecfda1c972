"""The state of a run on disk: checkpoints that are whole or absent, and exact resume."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from dinotxt.config import Config, differences, dump_yaml
from dinotxt.errors import CheckpointError, ConfigError
from dinotxt.files import atomic_path

CHECKPOINTS = "checkpoints"
_STATE = "state.pt"
_PREFIX = "step-"
# These keys change no number of the run, so a resumed run may change them.
_FREE_KEYS = ("output:", "data.num_workers:", "checkpoint.")


def claim(folder: Path, config: Config) -> None:
    """Write the resolved configuration into a run folder, or check the one that is there.

    A run that never reached a checkpoint has nothing to protect and may be begun differently.

    Raises:
        ConfigError: If the folder holds a run of another configuration; lists the differences.
    """
    path = folder / "config.yaml"
    if path.exists() and Checkpoints(folder / CHECKPOINTS, keep=1).steps():
        old = yaml.safe_load(path.read_text("utf-8"))
        changed = [
            line
            for line in differences(old, config.model_dump(mode="json"))
            if not line.startswith(_FREE_KEYS)
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
        """Write a checkpoint and delete those beyond ``keep``.

        Raises:
            CheckpointError: If it cannot be written (such as on a full disk); the older ones
                stay valid.
        """
        temporary = self.folder / f".{_PREFIX}{step}.tmp"
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            _write(temporary / _STATE, state)
            _sync(temporary)
            shutil.rmtree(self.path(step), ignore_errors=True)
            temporary.rename(self.path(step))
            _sync(self.folder)
            with atomic_path(self.folder / "last") as pointer:
                pointer.write_text(self.path(step).name + "\n", "utf-8")
        except (OSError, RuntimeError) as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise CheckpointError(self._failure(step, error)) from error
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
            state: dict[str, Any] = torch.load(path / _STATE, map_location="cpu", weights_only=True)
        except Exception as error:
            raise CheckpointError(
                f"{path} cannot be read ({error}): delete that folder to go on from the "
                f"checkpoint before it."
            ) from error
        return state

    def _failure(self, step: int, error: Exception) -> str:
        steps = self.steps()
        kept = f"that of step {steps[-1]} is still valid" if steps else "there is none before it"
        return (
            f"the checkpoint of step {step} was not written ({error}); {kept}. Free space in "
            f"{self.folder} and run the same command to go on."
        )


def _write(path: Path, state: Mapping[str, Any]) -> None:
    with path.open("wb") as stream:
        torch.save(dict(state), stream)
        stream.flush()
        os.fsync(stream.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
