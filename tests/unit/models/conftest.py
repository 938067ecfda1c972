"""Tiny models that several test files share."""

import pytest

from dinotxt.models.config import (
    BackboneConfig,
    ModelConfig,
    TransformerTextConfig,
    VisionHeadConfig,
)

TINY = {"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 70}


@pytest.fixture
def backbone_config() -> BackboneConfig:
    """A DINOv2 vision transformer with registers, random, of width 32."""
    return BackboneConfig(name="vit_small_patch14_reg4_dinov2", weights="random", options=TINY)


@pytest.fixture
def model_config(backbone_config: BackboneConfig) -> ModelConfig:
    """Both towers, tiny."""
    return ModelConfig(
        backbone=backbone_config,
        vision_head=VisionHeadConfig(num_blocks=1, num_heads=2),
        text_encoder=TransformerTextConfig(width=32, layers=2, heads=2, vocab_size=100),
    )
