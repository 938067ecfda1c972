from typing import Any

import open_clip
import pytest
import timm
import torch
import torch.nn.functional as F
from open_clip.coca_model import CoCa
from open_clip.model import CLIP, CustomTextCLIP, resize_pos_embed
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from timm.models.eva import Eva
from torch import Tensor, nn

from dinotxt.errors import ConfigError
from dinotxt.models.baselines.openclip import OpenClip, find_tower

TEXT = {"context_length": 8, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1}
VISION = {"layers": 2, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 32}
SIZES = [(32, 32), (48, 24), (8, 8)]


def clip(**options: Any) -> CLIP:
    torch.manual_seed(0)
    return CLIP(embed_dim=16, vision_cfg={**VISION, **options}, text_cfg=TEXT).eval()


def timm_tower(trunk: nn.Module, head: nn.Module, side: int = 32) -> TimmModel:
    """Put a tiny network behind open_clip's adapter, which builds only named ones."""
    tower = TimmModel.__new__(TimmModel)
    nn.Module.__init__(tower)
    tower.trunk, tower.head, tower.image_size = trunk, head, (side, side)
    return tower.eval()


def tokens_before_the_last_block(visual: Any, images: Tensor) -> Tensor:
    """Compute what CLIP's last block gets, at any size, from its weights alone."""
    patches = F.conv2d(images, visual.conv1.weight, stride=8).flatten(2).transpose(1, 2)
    first = visual.class_embedding.expand(len(images), 1, -1)
    position = visual.positional_embedding
    grid = position[1:].reshape(1, 4, 4, -1).permute(0, 3, 1, 2)
    size = (images.shape[2] // 8, images.shape[3] // 8)
    if size != (4, 4):
        grid = F.interpolate(grid, size=size, mode="bicubic", antialias=True)
    position = torch.cat([position[:1], grid.flatten(2)[0].T])
    tokens = visual.ln_pre(torch.cat([first, patches], dim=1) + position)
    for block in visual.transformer.resblocks[:-1]:
        tokens = block(tokens)
    return torch.as_tensor(tokens)


def values_of(attention: Any, tokens: Tensor) -> Tensor:
    width = attention.embed_dim
    values = tokens @ attention.in_proj_weight[-width:].T + attention.in_proj_bias[-width:]
    return torch.as_tensor(values @ attention.out_proj.weight.T + attention.out_proj.bias)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "options",
    [{}, {"pool_type": "avg", "final_ln_after_pool": True, "no_ln_pre": True}],
    ids=["cls", "clipa"],
)
@torch.inference_mode()
def test_patches_of_clip_are_the_values_of_its_last_attention(
    options: dict[str, Any], size: tuple[int, int]
) -> None:
    model = clip(**options)
    images = torch.randn(2, 3, *size)
    tokens = tokens_before_the_last_block(model.visual, images)
    block = model.visual.transformer.resblocks[-1]
    tokens = tokens + values_of(block.attn, block.ln_1(tokens))
    tokens = tokens + block.mlp(block.ln_2(tokens))
    expected = model.visual.ln_post(tokens[:, 1:]) @ model.visual.proj
    actual = OpenClip(model, context_length=8).encode_patches(images)
    assert actual.shape == (2, size[0] // 8, size[1] // 8, 16)
    torch.testing.assert_close(actual.flatten(1, 2), expected, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_patches_of_coca_are_the_values_of_its_pooling() -> None:
    torch.manual_seed(0)
    vision = {**VISION, "attentional_pool": True, "attn_pooler_heads": 4, "output_tokens": True}
    text = {**TEXT, "embed_cls": True, "output_tokens": True}
    decoder = {"width": 16, "context_length": 8, "vocab_size": 50, "layers": 1, "heads": 2}
    model = CoCa(embed_dim=16, multimodal_cfg=decoder, text_cfg=text, vision_cfg=vision).eval()
    images = torch.randn(2, 3, 48, 24)
    visual = model.visual
    tokens = visual.transformer.resblocks[-1](tokens_before_the_last_block(visual, images))
    pooler = visual.attn_pool
    values = pooler.ln_k(tokens[:, 1:]) @ pooler.attn.v_proj_weight.T
    values = pooler.attn.out_proj(values + pooler.attn.in_proj_bias[-16:])
    expected = visual.ln_post(values) @ visual.proj
    towers = OpenClip(model, context_length=8)
    torch.testing.assert_close(
        towers.encode_patches(images).flatten(1, 2), expected, rtol=1e-4, atol=1e-5
    )
    assert towers.encode_image(images).shape == (2, 16)


@torch.inference_mode()
def test_patches_of_a_resnet_are_the_values_of_its_pooling() -> None:
    torch.manual_seed(0)
    visual = ModifiedResNet([1, 1, 1, 1], output_dim=16, heads=4, image_size=64, width=8).eval()
    images = torch.randn(2, 3, 96, 64)
    features = visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(images)))))
    tower = find_tower(visual)
    expected = visual.attnpool.c_proj(visual.attnpool.v_proj(features.flatten(2).transpose(1, 2)))
    torch.testing.assert_close(tower.encode_patches(images).flatten(1, 2), expected)
    assert tower.encode_image(images).shape == (2, 16)
    native = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(tower.encode_image(native), visual(native))


def eva(**options: Any) -> Eva:
    torch.manual_seed(0)
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
    rope = {"use_rot_pos_emb": True, "ref_feat_shape": (4, 4), "scale_mlp": True}
    module = Eva(**sizes, **rope, swiglu_mlp=True, num_classes=16, **options).eval()
    with torch.no_grad():
        for value in module.parameters():
            value += 0.1 * torch.randn_like(value)
    return module


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("pool", "fused"), [("token", True), ("avg", False)])
@torch.inference_mode()
def test_patches_of_eva02_are_the_values_of_its_last_attention(
    size: tuple[int, int], pool: str, fused: bool
) -> None:
    trunk = eva(global_pool=pool, qkv_fused=fused)
    free = Eva(
        **{"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2},
        **{"use_rot_pos_emb": True, "ref_feat_shape": (4, 4), "scale_mlp": True},
        **{"swiglu_mlp": True, "num_classes": 16, "global_pool": pool, "qkv_fused": fused},
        dynamic_img_size=True,
    ).eval()
    free.load_state_dict(trunk.state_dict())
    images = torch.randn(2, 3, *size)
    tokens, rope = free._pos_embed(free.patch_embed(images))
    first, last = free.blocks
    tokens = first(tokens, rope=rope)
    normed, attention = last.norm1(tokens), last.attn
    if fused:
        values = normed @ attention.qkv.weight[64:].T + attention.v_bias
    else:
        values = attention.v_proj(normed)
    tokens = tokens + attention.proj(attention.norm(values))
    tokens = tokens + last.mlp(last.norm2(tokens))
    expected = free.head(free.fc_norm(free.norm(tokens)[:, 1:]))
    tower = find_tower(timm_tower(trunk, nn.Sequential()))
    actual = tower.encode_patches(images)
    assert actual.shape[1:3] == (size[0] // 8, size[1] // 8)
    torch.testing.assert_close(actual.flatten(1, 2), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(tower.encode_image(images), free(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
@torch.inference_mode()
def test_patches_of_siglip_are_the_values_of_its_pooling(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
    kind = {"class_token": False, "global_pool": "map", "num_classes": 0}
    trunk = timm.models.VisionTransformer(**sizes, **kind).eval()
    free = timm.models.VisionTransformer(**sizes, **kind, dynamic_img_size=True).eval()
    free.load_state_dict(trunk.state_dict())
    images = torch.randn(2, 3, *size)
    pool = free.attn_pool
    values = F.linear(free.forward_features(images), pool.kv.weight[32:], pool.kv.bias[32:])
    values = values @ pool.proj.weight.T + pool.proj.bias
    expected = values + pool.mlp(pool.norm(values))
    tower = find_tower(timm_tower(trunk, nn.Sequential()))
    actual = tower.encode_patches(images).flatten(1, 2)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(tower.encode_image(images), free(images), rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_a_network_without_attention_gives_its_map_through_its_head() -> None:
    torch.manual_seed(0)
    trunk = timm.models.ConvNeXt(depths=(1, 1, 1, 1), dims=(8, 8, 16, 32), num_classes=0).eval()
    projection = nn.Linear(32, 16, bias=False)
    head = nn.Sequential(projection)
    images = torch.randn(2, 3, 96, 64)
    features = trunk.forward_features(images).permute(0, 2, 3, 1)
    norm = trunk.head.norm
    expected = F.layer_norm(features, (32,), norm.weight, norm.bias, norm.eps) @ projection.weight.T
    tower = find_tower(timm_tower(trunk, head))
    assert tower.patch_size == 32
    torch.testing.assert_close(tower.encode_patches(images), expected, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_a_picture_of_another_size_is_what_a_model_of_that_size_sees() -> None:
    model, larger = clip(), clip(image_size=48)
    state = dict(model.state_dict())
    resize_pos_embed(state, larger)
    larger.load_state_dict(state)
    towers = OpenClip(model, context_length=8)
    images = torch.randn(2, 3, 48, 48)
    torch.testing.assert_close(towers.encode_image(images), larger.encode_image(images))
    small = torch.randn(2, 3, 32, 32)
    assert torch.equal(towers.encode_image(small), model.encode_image(small))


def test_copies_for_other_sizes_share_the_weights_and_their_number_is_bounded() -> None:
    model = clip()
    tower: Any = find_tower(model.visual)
    for side in range(8, 8 * 20, 8):
        tower.encode_patches(torch.zeros(1, 3, 8, side))
    copies = list(tower._at._copies.values())
    assert len(copies) <= 16
    assert copies[-1].conv1.weight is model.visual.conv1.weight
    assert model.visual.positional_embedding.shape == (17, 32)


@torch.inference_mode()
def test_short_texts_are_padded_as_open_clip_pads_them() -> None:
    model = clip()
    towers = OpenClip(model, context_length=8)
    ids = torch.tensor([[5, 9, 49], [5, 49, 0]])
    padded = F.pad(ids, (0, 5))
    actual = towers.encode_text(ids, torch.tensor([3, 2]))
    assert torch.equal(actual, model.encode_text(padded))
    assert towers.embed_dim == towers.patch_dim() == actual.shape[1] == 16


def test_the_logit_scale_is_a_scalar_also_where_open_clip_keeps_a_row() -> None:
    model = CustomTextCLIP(16, VISION, TEXT, nonscalar_logit_scale=True)
    towers = OpenClip(model, context_length=8)
    assert towers.logit_scale.shape == ()
    assert towers.logit_scale.exp().item() == pytest.approx(1 / 0.07, rel=1e-4)


@pytest.mark.parametrize("embedding", ["cls_patch", "value_patch"])
def test_joined_embeddings_are_refused(embedding: Any) -> None:
    towers = OpenClip(clip(), context_length=8)
    with pytest.raises(ConfigError, match="use value"):
        towers.encode_patches(torch.zeros(1, 3, 32, 32), embedding)
    with pytest.raises(ConfigError, match="use value"):
        towers.dense_text(torch.zeros(1, 16), embedding)


def test_a_tower_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="Linear"):
        find_tower(nn.Linear(2, 2))
    assert open_clip.list_models()
