"""What a run leaves behind."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state of the model that is on the disk.

    Attributes:
        step: Steps it was trained for.
        path: Its folder.
        metrics: Its validation metrics; empty where there were none.
    """

    step: int
    path: Path
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run.

    Attributes:
        path: The run folder; ``dinotxt.load`` takes it and gives the best model.
        steps: Steps done.
        best: The model with the highest mean of both recalls at 1; without validation the last.
        last: The last resumable checkpoint.
    """

    path: Path
    steps: int
    best: Snapshot
    last: Snapshot
