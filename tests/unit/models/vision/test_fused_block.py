"""Fused blocks against timm's own."""

import copy
from typing import Any

import pytest
import timm
import torch
from timm.layers import SwiGLUPacked
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from dinotxt.models.vision.fused_block import FusedBlock, fuse_blocks
from dinotxt.models.vision.values import without_last_attention

PLAIN: list[dict[str, Any]] = [
    {"qkv_bias": True, "init_values": 0.3},
    {"qkv_bias": True},
    {"qkv_bias": False, "proj_bias": False, "init_values": 0.3},
    {"qkv_bias": True, "drop_path": 0.5, "proj_drop": 0.5},
]
OTHER: list[dict[str, Any]] = [
    {"qkv_bias": True, "qk_norm": True},
    {"qkv_bias": True, "scale_attn_norm": True},
    {"qkv_bias": True, "scale_mlp_norm": True},
    {"qkv_bias": True, "mlp_layer": SwiGLUPacked},
    {"qkv_bias": True, "act_layer": nn.ReLU},
]


def pair(options: dict[str, Any]) -> tuple[Block, Block]:
    torch.manual_seed(0)
    plain = Block(32, 4, **options).eval().requires_grad_(False)
    for parameter in plain.parameters():
        parameter.normal_(std=0.3)
    holder = nn.Sequential(copy.deepcopy(plain))
    fuse_blocks(holder)
    return plain, holder[0]


def tokens(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("options", PLAIN + OTHER)
def test_a_fused_block_gives_what_timms_gives(options: dict[str, Any]) -> None:
    plain, fused = pair(options)
    assert type(fused) is FusedBlock
    given = tokens(17, 3, 32).transpose(0, 1)
    kept = given.clone()
    with torch.no_grad():
        torch.testing.assert_close(fused(given), plain(given), rtol=1e-5, atol=1e-5)
    assert torch.equal(given, kept)  # no step is done in place on what others hold


def fail(*_: object, **__: object) -> Tensor:
    raise AssertionError("timm's own way")


def test_plain_blocks_alone_take_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [pair(options)[1] for options in PLAIN + OTHER]
    monkeypatch.setattr(Block, "forward", fail)
    with torch.no_grad():
        for block in blocks[: len(PLAIN)]:
            block(tokens(2, 5, 32))
        for block in blocks[len(PLAIN) :]:
            with pytest.raises(AssertionError, match="own way"):
                block(tokens(2, 5, 32))
        with torch.autocast("cpu", torch.bfloat16), pytest.raises(AssertionError, match="own way"):
            blocks[0](tokens(2, 5, 32))
    with pytest.raises(AssertionError, match="own way"):
        blocks[0](tokens(2, 5, 32))  # gradients are on


def test_gradients_pass_through_to_what_comes_before() -> None:
    gradients = []
    for block in pair(PLAIN[0]):
        given = tokens(2, 5, 32).requires_grad_()
        block(given).square().sum().backward()
        gradients.append(given.grad)
    torch.testing.assert_close(gradients[0], gradients[1])


def test_a_whole_model_keeps_its_names_weights_and_values() -> None:
    torch.manual_seed(0)
    options = {"embed_dim": 32, "depth": 2, "num_heads": 4, "img_size": 32, "init_values": 0.5}
    plain = timm.create_model("vit_tiny_patch16_224", num_classes=0, **options).eval()
    fused = copy.deepcopy(plain)
    fuse_blocks(fused)
    assert list(fused.state_dict()) == list(plain.state_dict())
    images = tokens(2, 3, 32, 32)
    with torch.no_grad():
        for first, second in ((plain, fused), [without_last_attention(m) for m in (plain, fused)]):
            expected = first.forward_features(images)
            torch.testing.assert_close(second.forward_features(images), expected)
