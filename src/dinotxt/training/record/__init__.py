"""What a run leaves on the disk: checkpoints, metrics, the pairs that were lost."""

from dinotxt.training.record.log import MetricsLog, Quarantine, Reporter, StepRecord, TensorBoardLog
from dinotxt.training.record.state import (
    CHECKPOINTS,
    SKIPPED,
    Checkpoints,
    CheckpointWriter,
    claimed,
)

__all__ = [
    "CHECKPOINTS",
    "SKIPPED",
    "CheckpointWriter",
    "Checkpoints",
    "MetricsLog",
    "Quarantine",
    "Reporter",
    "StepRecord",
    "TensorBoardLog",
    "claimed",
]
