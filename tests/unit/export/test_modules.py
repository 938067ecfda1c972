"""Towers that can be traced, against those that they stand for, before any export."""

import pytest
import torch

from dinotxt.errors import ConfigError
from dinotxt.export.modules import ImageTower, baked_positions, traceable_text
from dinotxt.models.config import (
    BackboneConfig,
    ModelConfig,
    Pooling,
    TransformerTextConfig,
    VisionHeadConfig,
)
from dinotxt.models.dinotxt import DinoTxt


def build(pooling: Pooling = "cls_avg", num_blocks: int = 1) -> DinoTxt:
    options = {"embed_dim": 32, "depth": 2, "num_heads": 2, "patch_size": 8, "img_size": 32}
    torch.manual_seed(0)
    config = ModelConfig(
        backbone=BackboneConfig(name="vit_tiny_patch16_224", weights="random", options=options),
        vision_head=VisionHeadConfig(num_blocks=num_blocks, num_heads=2, pooling=pooling),
        text_encoder=TransformerTextConfig(width=32, layers=2, heads=2, vocab_size=100),
    )
    return DinoTxt.from_config(config).eval()


@pytest.mark.parametrize("pooling", ["cls", "avg", "cls_max"])
@pytest.mark.parametrize("num_blocks", [0, 1])
@torch.inference_mode()
def test_one_pass_gives_both_features_of_the_model(pooling: Pooling, num_blocks: int) -> None:
    model = build(pooling, num_blocks)
    images = torch.randn(2, 3, 48, 48)
    with baked_positions(model, 48):
        features, patches = ImageTower(model)(images)
    assert torch.allclose(features, model.encode_image(images), atol=1e-6)
    assert torch.allclose(patches, model.encode_patches(images), atol=1e-6)


@torch.inference_mode()
def test_baked_positions_are_for_their_block_alone() -> None:
    model = build()
    before = model.encode_image(torch.ones(1, 3, 64, 64))
    with baked_positions(model, 32), pytest.raises(ConfigError, match="no pictures of 64x64"):
        model.encode_image(torch.ones(1, 3, 64, 64))
    assert torch.equal(model.encode_image(torch.ones(1, 3, 64, 64)), before)


@torch.inference_mode()
def test_padded_texts_have_the_features_of_packed_ones() -> None:
    model = build()
    ids, lengths = torch.randint(1, 100, (4, 9)), torch.tensor([9, 3, 5, 1])
    expected = model.encode_text(ids, lengths)
    with traceable_text(model) as tower:
        features = tower(ids, lengths)
        wider = torch.cat([ids, torch.randint(1, 100, (4, 20))], dim=1)
        assert torch.allclose(tower(wider, lengths), features, atol=1e-6)
    assert torch.allclose(features, expected, atol=1e-6)
    assert torch.equal(model.encode_text(ids, lengths), expected)
