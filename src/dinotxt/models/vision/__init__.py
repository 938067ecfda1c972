"""The picture side: backbones that give tokens, and the head that aligns and pools them."""

from dinotxt.models.vision.backbone import Backbone
from dinotxt.models.vision.blocks import VisionBlock
from dinotxt.models.vision.drop_path import SubsetDraw
from dinotxt.models.vision.huggingface import load_auto_model
from dinotxt.models.vision.input_norm import RawCls, Standardize
from dinotxt.models.vision.levels import stages
from dinotxt.models.vision.position import PositionEmbedding, resample
from dinotxt.models.vision.sources import build_module
from dinotxt.models.vision.tokens import Tokens
from dinotxt.models.vision.values import has_values, repeat_over_grid, without_last_attention
from dinotxt.models.vision.vision_head import VisionHead

__all__ = [
    "Backbone",
    "PositionEmbedding",
    "RawCls",
    "Standardize",
    "SubsetDraw",
    "Tokens",
    "VisionBlock",
    "VisionHead",
    "build_module",
    "has_values",
    "load_auto_model",
    "repeat_over_grid",
    "resample",
    "stages",
    "without_last_attention",
]
