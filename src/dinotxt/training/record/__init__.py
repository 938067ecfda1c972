"""What a run leaves on the disk: checkpoints, metrics, the pairs that were lost."""

from dinotxt.training.record.log import MetricsLog, Quarantine, Reporter, StepRecord, TensorBoardLog
from dinotxt.training.record.state import CHECKPOINTS, Checkpoints, CheckpointWriter, claim

__all__ = [
    "CHECKPOINTS",
    "CheckpointWriter",
    "Checkpoints",
    "MetricsLog",
    "Quarantine",
    "Reporter",
    "StepRecord",
    "TensorBoardLog",
    "claim",
]
