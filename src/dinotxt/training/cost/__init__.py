"""What a run costs, by formula: operations, GPU-hours, energy, storage."""

from dinotxt.training.cost.budget import (
    GPUS,
    estimate,
    paper_utilisation,
    part_rows,
    storage_rows,
    table_7,
)
from dinotxt.training.cost.ledger import Ledger

__all__ = [
    "GPUS",
    "Ledger",
    "estimate",
    "paper_utilisation",
    "part_rows",
    "storage_rows",
    "table_7",
]
