"""Which pairs make a batch, and which pairs a curation keeps."""

from dinotxt.data.order.curated import (
    KEEP_DTYPE,
    CuratedPairs,
    DrawMode,
    draw,
    pair_id,
    pair_ids,
    record_key,
)
from dinotxt.data.order.curated_sampler import CuratedSampler
from dinotxt.data.order.sampler import EpochSampler, caption_index, uniform, view_index

__all__ = [
    "KEEP_DTYPE",
    "CuratedPairs",
    "CuratedSampler",
    "DrawMode",
    "EpochSampler",
    "caption_index",
    "draw",
    "pair_id",
    "pair_ids",
    "record_key",
    "uniform",
    "view_index",
]
