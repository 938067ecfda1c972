"""Align any vision backbone with language, after "DINOv2 Meets Text" (dino.txt).

The names below are the whole public surface; they load on first use, so ``import dinotxt``
stays light.
"""

import importlib
from typing import TYPE_CHECKING, Any

from dinotxt.errors import told_missing

if TYPE_CHECKING:
    from dinotxt.errors import DinotxtError
    from dinotxt.evaluation import evaluate
    from dinotxt.inference.classifier import ZeroShotClassifier
    from dinotxt.inference.encoder import Encoder, load
    from dinotxt.inference.features import LabelFeatures
    from dinotxt.inference.segmenter import HighRes, Segmenter, SlidingWindow
    from dinotxt.search.index import ImageIndex
    from dinotxt.training.config import TrainConfig
    from dinotxt.training.trainer import Trainer

__version__ = "0.1.0"

__all__ = [
    "DinotxtError",
    "Encoder",
    "HighRes",
    "ImageIndex",
    "LabelFeatures",
    "Segmenter",
    "SlidingWindow",
    "TrainConfig",
    "Trainer",
    "ZeroShotClassifier",
    "__version__",
    "evaluate",
    "load",
]

_HOMES = {
    "DinotxtError": "dinotxt.errors",
    "Encoder": "dinotxt.inference.encoder",
    "HighRes": "dinotxt.inference.segmenter",
    "ImageIndex": "dinotxt.search.index",
    "LabelFeatures": "dinotxt.inference.features",
    "Segmenter": "dinotxt.inference.segmenter",
    "SlidingWindow": "dinotxt.inference.segmenter",
    "TrainConfig": "dinotxt.training.config",
    "Trainer": "dinotxt.training.trainer",
    "ZeroShotClassifier": "dinotxt.inference.classifier",
    "evaluate": "dinotxt.evaluation",
    "load": "dinotxt.inference.encoder",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dinotxt' has no attribute {name!r}")
    with told_missing():
        value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
