"""Several processes: how they meet, what they tell each other, how they average gradients."""

from dinotxt.training.distributed.gradients import Gradients, large_tables
from dinotxt.training.distributed.shards import cut_like, join, local, part_of, whole
from dinotxt.training.distributed.world import World, joined

__all__ = [
    "Gradients",
    "World",
    "cut_like",
    "join",
    "joined",
    "large_tables",
    "local",
    "part_of",
    "whole",
]
