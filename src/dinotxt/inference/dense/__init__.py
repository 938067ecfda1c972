"""A label for every pixel: modes, maps of scores and their refinement.

``projection`` is a module of its own: it draws in torch.
"""

from dinotxt.inference.dense.affinity import TEMPERATURE
from dinotxt.inference.dense.highres import HighRes, SegmentScores, crops_within
from dinotxt.inference.dense.modes import MODES, find_mode, high_res
from dinotxt.inference.dense.pamr import Pamr
from dinotxt.inference.dense.scores import (
    Axis,
    Mode,
    Query,
    Refine,
    ScoreMap,
    Upsample,
    WindowScores,
    cosines,
    label_tiles,
    tile_rows,
)
from dinotxt.inference.dense.window import SlidingWindow, Whole, encode_windows

__all__ = [
    "MODES",
    "TEMPERATURE",
    "Axis",
    "HighRes",
    "Mode",
    "Pamr",
    "Query",
    "Refine",
    "ScoreMap",
    "SegmentScores",
    "SlidingWindow",
    "Upsample",
    "Whole",
    "WindowScores",
    "cosines",
    "crops_within",
    "encode_windows",
    "find_mode",
    "high_res",
    "label_tiles",
    "tile_rows",
]
