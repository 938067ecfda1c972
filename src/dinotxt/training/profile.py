"""Where the time of training steps goes: a table of phases and a trace for Perfetto or Chrome.

The loop names its phases with ``phase``, which costs next to nothing while nobody profiles.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from dinotxt.files import atomic_path, write_json

Phase = Literal[
    "data wait", "frozen forward", "trained forward", "backward", "loss", "optimiser", "other"
]
PHASES: tuple[Phase, ...] = get_args(Phase)
_active: ContextVar["StepProfiler | None"] = ContextVar("profiler", default=None)


@dataclass(frozen=True, slots=True)
class PhaseTime:
    """The time of one phase.

    Attributes:
        phase: Which.
        milliseconds: A step, on average.
        share: Of the whole step.
    """

    phase: Phase
    milliseconds: float
    share: float


class StepProfiler:
    """Times the phases of a number of steps, after one that warms up.

    Args:
        folder: Where ``trace.json.gz`` and ``phases.json`` go; None: phases are timed, and nothing
            is traced or written.
        num_steps: Steps to profile; the run goes on after them.
    """

    def __init__(self, folder: Path | None, num_steps: int) -> None:
        self.folder = folder
        self.num_steps = num_steps
        self.steps_done = 0
        self._state: Literal["warming", "timing", "done"] = "warming"
        self._seconds = dict.fromkeys(PHASES, 0.0)
        self._total = 0.0
        self._begin = 0.0
        self._trace: Any = None

    @contextmanager
    def active(self) -> Iterator["StepProfiler"]:
        """Profile the runs of the block."""
        token = _active.set(self)
        try:
            yield self
        finally:
            _active.reset(token)
            self._finish()

    @contextmanager
    def time(self, name: Phase) -> Iterator[None]:
        """Add the time of the block to a phase."""
        if self._state != "timing":
            yield
            return
        _wait()
        begin = time.perf_counter()
        try:
            with torch.profiler.record_function(name):
                yield
                _wait()
        finally:
            self._seconds[name] += time.perf_counter() - begin

    def end_step(self) -> None:
        """Hear that a step is over: the first ends the warm-up, the last writes the files."""
        if self._state == "timing":
            _wait()
            self.steps_done += 1
            self._total = time.perf_counter() - self._begin
            if self.steps_done == self.num_steps:
                self._finish()
        elif self._state == "warming":
            self._state = "timing"
            if self.folder is not None:
                # Kineto's own lines say that there is no GPU, which is no error.
                os.environ.setdefault("KINETO_LOG_LEVEL", "9")
                self._trace = torch.profiler.profile(activities=_activities())
                self._trace.start()
            self._begin = time.perf_counter()

    def table(self) -> list[PhaseTime]:
        """Return the time of every phase; nothing where no step was profiled."""
        if not self.steps_done:
            return []
        seconds = dict(self._seconds)
        seconds["other"] = max(0.0, self._total - sum(seconds.values()))
        return [
            PhaseTime(name, 1000 * value / self.steps_done, value / self._total)
            for name, value in seconds.items()
        ]

    def _finish(self) -> None:
        self._state = "done"
        if self._trace is None or self.folder is None:
            return
        trace, self._trace = self._trace, None
        trace.stop()
        if not self.steps_done:
            return
        with atomic_path(self.folder / "trace.json.gz") as temporary:
            named = temporary.with_suffix(".json.gz")  # the ending decides about the compression
            trace.export_chrome_trace(str(named))
            named.replace(temporary)
        rows = [
            {"phase": row.phase, "milliseconds": row.milliseconds, "share": row.share}
            for row in self.table()
        ]
        write_json(self.folder / "phases.json", {"steps": self.steps_done, "phases": rows})


@contextmanager
def phase(name: Phase) -> Iterator[None]:
    """Name a part of a training step."""
    profiler = _active.get()
    with nullcontext() if profiler is None else profiler.time(name):
        yield


def end_step() -> None:
    """Tell an active profiler that a step is over."""
    profiler = _active.get()
    if profiler is not None:
        profiler.end_step()


def _activities() -> list[torch.profiler.ProfilerActivity]:
    kinds = torch.profiler.ProfilerActivity
    return [kinds.CPU, kinds.CUDA] if torch.cuda.is_available() else [kinds.CPU]


def _wait() -> None:
    """Wait for the GPU, so that its work falls to the phase that asked for it."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
