"""What a step gets: micro-batches of pictures or cached tokens with captions, in a fixed order."""

from dinotxt.training.feed.batches import (
    Batch,
    Batches,
    BatchReader,
    MixedBatches,
    VisionSource,
    divide,
)
from dinotxt.training.feed.captions import CaptionTable
from dinotxt.training.feed.classifier import ClassifierPairs, Moments, RealFeatures
from dinotxt.training.feed.stream import StreamBatches, local_data, open_stream
from dinotxt.training.feed.validation import Validation
from dinotxt.training.feed.vision import (
    CachedTokens,
    Pictures,
    Pooled,
    as_pooled,
    move,
    needed_patches,
    pooled_kind,
)

__all__ = [
    "Batch",
    "BatchReader",
    "Batches",
    "CachedTokens",
    "CaptionTable",
    "ClassifierPairs",
    "MixedBatches",
    "Moments",
    "Pictures",
    "Pooled",
    "RealFeatures",
    "StreamBatches",
    "Validation",
    "VisionSource",
    "as_pooled",
    "divide",
    "local_data",
    "move",
    "needed_patches",
    "open_stream",
    "pooled_kind",
]
