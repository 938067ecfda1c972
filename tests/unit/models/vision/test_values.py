from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dinotxt.models.config import BackboneConfig
from dinotxt.models.vision.backbone import Backbone
from dinotxt.models.vision.values import OwnValue, has_values, without_last_attention

TINY = {"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 64, "num_classes": 0}
FAMILIES: list[tuple[str, dict[str, Any]]] = [
    ("vit_small_patch16_224", {}),
    ("vit_small_patch14_reg4_dinov2", {"img_size": 56}),
    ("vit_small_patch16_dinov3", {}),
    ("deit3_small_patch16_224", {}),
    ("beit_base_patch16_224", {}),
    ("eva02_tiny_patch14_224", {"img_size": 56}),
    ("vit_relpos_medium_patch16_cls_224", {}),
    ("samvit_base_patch16", {"global_attn_indexes": (1,), "window_size": 2}),
    ("vit_base_patch16_xp_224", {}),  # attention beside the feed-forward layer, one projection
    ("vit_small_patch16_18x2_224", {}),  # two attentions side by side
]
ATTENTIONS = {"vit_small_patch16_18x2_224": 2}  # in one block; else 1


def with_values_at_the_last_call(
    module: Any, images: Tensor, monkeypatch: pytest.MonkeyPatch, attentions: int
) -> Tensor:
    """Run a module whose last block's attentions are replaced, in the kernel, by their values."""
    attention = F.scaled_dot_product_attention
    calls: list[int] = []

    def kernel(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
        calls.append(1)
        if len(calls) > (len(module.blocks) - 1) * attentions:
            return value
        return attention(query, key, value, **options)

    with monkeypatch.context() as patch:
        patch.setattr(F, "scaled_dot_product_attention", kernel)
        out: Tensor = module.forward_features(images)
    assert len(calls) == len(module.blocks) * attentions
    return out


@pytest.mark.parametrize(("name", "options"), FAMILIES, ids=[name for name, _ in FAMILIES])
@torch.inference_mode()
def test_the_last_attention_of_every_family_gives_its_values(
    name: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    module = timm.create_model(name, **{**TINY, **options}).eval()
    for value in module.parameters():
        value += 0.2 * torch.randn_like(value)
    side = options.get("img_size", 64)
    images = torch.randn(2, 3, side, side)
    assert has_values(module)
    expected = with_values_at_the_last_call(module, images, monkeypatch, ATTENTIONS.get(name, 1))
    actual = without_last_attention(module).forward_features(images)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(actual, module.forward_features(images), atol=1e-3)


def test_the_copy_shares_its_weights_and_leaves_the_module_as_it_was() -> None:
    module = timm.create_model("vit_small_patch16_224", **TINY).eval()
    before = dict(module.named_modules())
    twin = without_last_attention(module)
    assert dict(module.named_modules()) == before
    assert isinstance(twin.blocks[-1].attn, OwnValue)
    own = {value.data_ptr() for value in module.parameters()}
    assert {value.data_ptr() for value in twin.parameters()} == own
    with torch.no_grad():
        module.blocks[-1].attn.proj.bias.fill_(7.0)
    assert (twin.blocks[-1].attn.attention.proj.bias == 7).all()


def test_a_multi_head_attention_of_torch_answers_as_it_does() -> None:
    attention = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    tokens = torch.randn(2, 5, 8)
    values, weights = OwnValue(attention)(tokens, tokens, tokens, need_weights=False)
    assert attention.in_proj_bias is not None
    expected = F.linear(tokens, attention.in_proj_weight[16:], attention.in_proj_bias[16:])
    torch.testing.assert_close(values, attention.out_proj(expected))
    assert weights is None


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto", "swin_tiny_patch4_window7_224"])
def test_networks_without_plain_blocks_have_no_values(name: str) -> None:
    with torch.device("meta"):
        assert not has_values(timm.create_model(name))


@pytest.mark.parametrize("build", [lambda: nn.Linear(2, 2), lambda: nn.Sequential()])
def test_other_modules_have_no_values(build: Callable[[], nn.Module]) -> None:
    assert not has_values(build())


def test_a_backbone_gives_values_at_any_size() -> None:
    name = "vit_small_patch14_reg4_dinov2"
    options = {"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 70}
    backbone = Backbone.from_config(BackboneConfig(name=name, weights="random", options=options))
    tokens = backbone.values(torch.randn(1, 3, 28, 56))
    assert backbone.has_values
    assert tokens.grid == (2, 4)
    assert tokens.patches.shape == (1, 8, 32)
