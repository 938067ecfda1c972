"""What a run reports: numbers to ``metrics.jsonl`` and TensorBoard, lost pairs to a file."""

import importlib.util
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from dinotxt.errors import DataError
from dinotxt.results.skip import OnSkip, Skip

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StepRecord:
    """The numbers of one training step.

    Attributes:
        step: Steps done, this one included (from 1).
        loss: The loss before the update.
        lr: The learning rate of the update.
        logit_scale: The factor of the cosines after the update.
        gflops: Spent by the run so far on all processes, in 1e9 (see ``training.ledger``).
    """

    step: int
    loss: float
    lr: float
    logit_scale: float
    gflops: float = 0.0


class Reporter(Protocol):
    """Hears what happens in a run."""

    def started(self, step: int, steps: int, batch_size: int) -> None:
        """Hear that the run begins or goes on after ``step`` of ``steps`` steps."""

    def stepped(self, records: Sequence[StepRecord]) -> None:
        """Hear of the steps since the last call."""

    def evaluated(self, step: int, metrics: Mapping[str, float]) -> None:
        """Hear the validation metrics after ``step`` steps."""

    def closed(self) -> None:
        """Hear that the run ends, whether well or not."""


class MetricsLog:
    """Appends JSON lines to a file: one a step, one an evaluation, in the order of the steps."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def started(self, step: int, steps: int, batch_size: int) -> None:
        """Cut the file back to ``step``, so that a resumed run repeats no line."""
        del steps, batch_size
        self.path.touch()
        with self.path.open("rb+") as stream:
            stream.truncate(_end_of_step(stream.readlines(), step))

    def stepped(self, records: Sequence[StepRecord]) -> None:
        """Append one line a step."""
        self._append([asdict(record) for record in records])

    def evaluated(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append one line."""
        self._append([{"step": step, "evaluation": dict(metrics)}])

    def closed(self) -> None:
        """Sync the file to the disk."""
        with self.path.open("ab") as stream:
            os.fsync(stream.fileno())

    def _append(self, lines: Sequence[Mapping[str, Any]]) -> None:
        with self.path.open("a", encoding="utf-8") as stream:
            stream.writelines(json.dumps(line) + "\n" for line in lines)


def _end_of_step(lines: Sequence[bytes], step: int) -> int:
    """Return the length of the lines that are whole and not later than ``step``."""
    end = 0
    for line in lines:
        try:
            content = json.loads(line)
        except ValueError:
            return end
        if not line.endswith(b"\n") or content["step"] > step:
            return end
        end += len(line)
    return end


class TensorBoardLog:
    """Writes the same numbers as TensorBoard scalars."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer: Any = None

    @staticmethod
    def available() -> bool:
        """Tell if TensorBoard is installed."""
        return importlib.util.find_spec("tensorboard") is not None

    def started(self, step: int, steps: int, batch_size: int) -> None:
        """Open the event file; what a killed run wrote after ``step`` is hidden."""
        del steps, batch_size
        from torch.utils.tensorboard.writer import SummaryWriter

        self._writer = SummaryWriter(str(self.path), purge_step=step + 1)

    def stepped(self, records: Sequence[StepRecord]) -> None:
        """Add the numbers of each step."""
        for record in records:
            for name in ("loss", "lr", "logit_scale", "gflops"):
                self._writer.add_scalar(f"train/{name}", getattr(record, name), record.step)

    def evaluated(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add every metric."""
        for name, value in metrics.items():
            self._writer.add_scalar(f"validation/{name}", value, step)

    def closed(self) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()


class Quarantine:
    """A file of JSON lines ``{"path", "reason"}``; each path comes once, resumes included.

    Args:
        path: The file.
        on_skip: Hears of each new one; None: a warning is logged.
        is_silent: Only count: another process of the run does the rest.
    """

    def __init__(
        self,
        path: Path,
        on_skip: OnSkip | None = None,
        *,
        is_silent: bool = False,
    ) -> None:
        self.path = path
        self._is_silent = is_silent
        self._on_skip = on_skip
        self._known: set[str] = set()
        self._lost: set[str] = set()
        if path.exists():
            self._known = {
                json.loads(line)["path"] for line in path.read_text("utf-8").splitlines()
            }

    def add(self, skip: Skip) -> None:
        """Write down a pair, unless it is known."""
        self._lost.add(skip.path)
        if skip.path in self._known:
            return
        self._known.add(skip.path)
        if self._is_silent:
            return
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(asdict(skip)) + "\n")
        if self._on_skip is None:
            _log.warning("left out %s: %s", skip.path, skip.reason)
        else:
            self._on_skip(skip)

    def check(self, num_pairs: int, share: float) -> None:
        """Stop when more than a share of the pairs is lost (one is always allowed).

        What was lost before the run was resumed counts when it is met again: it may be mended.

        Raises:
            DataError: With the number and the file.
        """
        if len(self._lost) > max(1, share * num_pairs):
            raise DataError(
                f"{len(self._lost)} of {num_pairs} pairs cannot be used, more than "
                f"data.max_skipped ({share:g}): see {self.path}."
            )
