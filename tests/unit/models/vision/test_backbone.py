import copy
import warnings
from dataclasses import replace
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from dinotxt.errors import ConfigError
from dinotxt.models.config import BackboneConfig
from dinotxt.models.vision.backbone import Backbone

VIT = {"embed_dim": 32, "depth": 2, "num_heads": 2}


def build(name: str, **options: Any) -> Backbone:
    return Backbone.from_config(BackboneConfig(name=name, weights="random", **options))


@pytest.mark.parametrize(
    ("name", "size", "registers", "grid"),
    [
        ("vit_small_patch14_dinov2", (56, 84), 0, (4, 6)),
        ("vit_small_patch14_reg4_dinov2", (56, 84), 4, (4, 6)),
        ("vit_base_patch16_224", (32, 64), 0, (2, 4)),
        ("vit_large_patch16_dinov3", (32, 64), 4, (2, 4)),
        ("vit_huge_patch14_gap_224", (28, 42), 0, (2, 3)),
        ("vit_base_patch16_siglip_224", (32, 64), 0, (2, 4)),
        ("deit_tiny_distilled_patch16_224", (224, 224), 1, (14, 14)),
    ],
)
def test_any_vision_transformer_gives_tokens(
    name: str, size: tuple[int, int], registers: int, grid: tuple[int, int]
) -> None:
    backbone = build(name, options=VIT)
    tokens = backbone(torch.randn(2, 3, *size))
    assert backbone.num_registers == registers
    assert tokens.grid == grid
    assert tokens.cls.shape == (2, backbone.width) == (2, 32)
    assert tokens.registers.shape == (2, registers, 32)
    assert tokens.patches.shape == (2, grid[0] * grid[1], 32)


def test_tokens_of_a_transformer_are_timms_final_normed_ones() -> None:
    backbone = build("vit_base_patch16_224", options=VIT)
    images = torch.randn(2, 3, 32, 48)
    expected = backbone.module.norm(
        backbone.module.forward_intermediates(images, norm=False, intermediates_only=True)[0]
        .flatten(2)
        .transpose(1, 2)
    )
    assert backbone(images).patches.shape == expected.shape
    sequence = backbone.module.forward_features(images)
    assert torch.equal(backbone(images).cls, sequence[:, 0])
    assert torch.equal(backbone(images).patches, sequence[:, 1:])


def test_a_norm_that_timm_keeps_for_the_pooled_token_is_applied_to_all() -> None:
    backbone = build("vit_base_patch16_224", options={**VIT, "global_pool": "avg"})
    patches = backbone(torch.randn(1, 3, 32, 32)).patches
    torch.testing.assert_close(patches.mean(dim=-1), torch.zeros(1, 4), rtol=0, atol=1e-5)
    torch.testing.assert_close(patches.std(dim=-1, correction=0), torch.ones(1, 4))


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto", "mobilenetv3_small_050"])
def test_a_convolutional_network_gives_its_last_map(name: str) -> None:
    backbone = build(name)
    images = torch.randn(2, 3, 64, 96)
    tokens = backbone(images)
    expected = backbone.module.forward_features(images)
    assert tokens.grid == tuple(expected.shape[-2:]) == (2, 3)
    assert (backbone.width, backbone.patch_size) == (expected.shape[1], 32)
    torch.testing.assert_close(tokens.cls, expected.mean(dim=(2, 3)))
    torch.testing.assert_close(tokens.patch_map(), expected.permute(0, 2, 3, 1))


def test_a_channels_last_transformer_gives_its_map() -> None:
    backbone = build("swin_tiny_patch4_window7_224", options={"depths": (1, 1, 1, 1)})
    images = torch.randn(1, 3, 224, 224)
    expected = backbone.module.forward_features(images)
    assert torch.equal(backbone(images).patch_map(), expected)


def test_levels_join_stages_on_the_finest_grid() -> None:
    backbone = build("resnet18", levels=(4, 3))
    images = torch.randn(1, 3, 64, 64)
    tokens = backbone(images)
    assert (backbone.width, backbone.patch_size, tokens.grid) == (768, 16, (4, 4))
    final, maps = backbone.module.forward_intermediates(images, indices=[3])
    torch.testing.assert_close(tokens.patch_map()[..., :256], maps[0].permute(0, 2, 3, 1))
    enlarged = nn.functional.interpolate(final, size=(4, 4), mode="bilinear")
    torch.testing.assert_close(tokens.patch_map()[..., 256:], enlarged.permute(0, 2, 3, 1))


def test_the_deepest_level_is_the_networks_own_output() -> None:
    backbone = build("mobilenetv3_small_050", levels=(4,))
    images = torch.randn(1, 3, 64, 64)
    assert backbone.width == backbone.module.num_features
    expected = backbone.module.forward_features(images).flatten(2).transpose(1, 2)
    assert torch.equal(backbone(images).patches, expected)
    shallow = build("mobilenetv3_small_050", levels=(1,))
    assert (shallow(images).grid, shallow.patch_size, shallow.width) == ((16, 16), 4, 8)


def test_levels_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"0\.\.4"):
        build("resnet18", levels=(7,))
    with pytest.raises(ConfigError, match="no stages"):
        build("vit_small_patch14_dinov2", levels=(0, 1), options=VIT)


def test_a_network_of_one_size_says_how_to_set_it() -> None:
    backbone = build("mixer_s32_224")
    assert backbone(torch.zeros(1, 3, 224, 224)).patches.shape == (1, 49, 512)
    with pytest.raises(ConfigError, match=r"backbone\.options\.img_size"):
        backbone(torch.zeros(1, 3, 256, 256))


def test_a_network_with_batch_norms_and_tokens_is_folded_at_its_own_size() -> None:
    backbone = build("levit_128s", options={"depth": (1, 1, 1)})
    tokens = backbone(torch.randn(1, 3, 224, 224))
    assert (tokens.grid, tokens.patches.shape, backbone.patch_size) == ((4, 4), (1, 16, 384), 64)


def test_a_convolutional_network_takes_sizes_that_its_stride_does_not_divide() -> None:
    assert build("convnext_atto")(torch.randn(1, 3, 70, 100)).grid == (2, 3)


@pytest.mark.parametrize("size", [(57, 56), (56, 10), (0, 56)])
def test_a_size_that_the_patch_does_not_divide_is_an_error_with_the_nearest_sizes(
    size: tuple[int, int],
) -> None:
    backbone = build("vit_small_patch14_dinov2", options=VIT)
    with pytest.raises(ConfigError, match="nearest sizes"):
        backbone(torch.zeros(1, 3, *size))
    with pytest.raises(ConfigError, match="56x56 and 70x56"):
        backbone(torch.zeros(1, 3, 57, 56))


@pytest.mark.parametrize("name", ["vit_small_patch14_dinov2", "resnet18"])
def test_frozen_backbone_stays_in_eval_after_train_and_has_no_gradients(name: str) -> None:
    backbone = build(name, options=VIT if "vit" in name else {})
    assert backbone.train() is backbone
    assert not any(module.training for module in backbone.modules())
    assert not any(value.requires_grad for value in backbone.parameters())
    before = backbone.weights_hash
    tokens = backbone(torch.randn(2, 3, 56, 56, requires_grad=True))
    assert not tokens.patches.requires_grad
    assert backbone.weights_hash == before


def test_frozen_backbone_is_absent_from_state_dicts() -> None:
    backbone = build("vit_small_patch14_dinov2", options=VIT)
    outer = nn.ModuleDict({"backbone": backbone, "head": nn.Linear(2, 2)})
    assert set(outer.state_dict()) == {"head.weight", "head.bias"}
    assert outer.load_state_dict(outer.state_dict()).missing_keys == []
    with pytest.raises(RuntimeError, match=r"head\.bias"):
        outer.load_state_dict({"head.weight": torch.ones(2, 2)})


def test_a_trained_backbone_learns_and_is_saved() -> None:
    config = BackboneConfig(name="resnet18", weights="random", frozen=False)
    backbone = Backbone.from_config(config)
    assert backbone.train().module.bn1.training
    assert "module.conv1.weight" in backbone.state_dict()
    assert backbone(torch.randn(2, 3, 64, 64)).patches.requires_grad
    before = backbone.weights_hash
    with torch.no_grad():
        backbone.module.conv1.weight.add_(1)
    assert backbone.weights_hash != before


def test_random_frozen_weights_can_be_made_again() -> None:
    torch.manual_seed(5)
    first = build("vit_small_patch14_dinov2", options=VIT)
    state = torch.get_rng_state()
    second = build("vit_small_patch14_dinov2", options=VIT)
    assert first.weights_hash == second.weights_hash
    assert torch.equal(torch.get_rng_state(), state)


def test_random_weights_that_nobody_asked_for_are_warned_about() -> None:
    with pytest.warns(UserWarning, match="random weights"):
        Backbone.from_config(BackboneConfig(name="vit_small_patch14_dinov2", options=VIT))


def test_batch_norms_of_a_frozen_network_are_folded_and_features_stay() -> None:
    module = timm.create_model("resnet18", num_classes=0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -1, 1)  # type: ignore[arg-type]
            nn.init.uniform_(part.running_var, 0.5, 2)  # type: ignore[arg-type]
    module.eval()
    images = torch.randn(2, 3, 64, 64)
    expected = module.forward_features(images)
    backbone = Backbone(copy.deepcopy(module), BackboneConfig(name="resnet18", weights="random"))
    assert not any(isinstance(part, nn.BatchNorm2d) for part in backbone.modules())
    actual = backbone(images).patch_map().permute(0, 3, 1, 2)
    error = (actual - expected).abs().max() / expected.abs().max()
    assert error.item() < 1e-4


def test_other_numbers_of_channels_are_possible() -> None:
    backbone = build("vit_small_patch14_dinov2", in_channels=5, options=VIT)
    assert backbone(torch.randn(1, 5, 28, 28)).patches.shape == (1, 4, 32)


def test_values_skip_the_last_attention_of_the_transformer() -> None:
    backbone = build("vit_small_patch14_reg4_dinov2", options=VIT)
    images = torch.randn(1, 3, 56, 56)
    module = backbone.module
    block = module.blocks[1]
    hidden = module.blocks[0](module._pos_embed(module.patch_embed(images)))
    value = nn.functional.linear(
        block.norm1(hidden), block.attn.qkv.weight[64:], block.attn.qkv.bias[64:]
    )
    hidden = hidden + block.ls1(block.attn.proj(value))
    hidden = module.norm(hidden + block.ls2(block.mlp(block.norm2(hidden))))
    torch.testing.assert_close(backbone.values(images).patches, hidden[:, 5:])


def test_values_of_a_convolutional_network_are_its_tokens() -> None:
    backbone = build("resnet18")
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(backbone.values(images).patches, backbone(images).patches)


def test_a_copy_of_a_backbone_does_not_share_its_positions() -> None:
    backbone = build("vit_small_patch14_dinov2", options=VIT)
    other = copy.deepcopy(backbone)
    images = torch.randn(1, 3, 28, 42)
    before = backbone(images).patches
    other.module.pos_embed.zero_()
    assert torch.equal(backbone(images).patches, before)
    assert not torch.equal(other(images).patches, before)


class OwnNetwork(nn.Module):
    """A stranger's network with timm's ``forward_features``."""

    num_features = 6
    patch_size = 8
    num_prefix_tokens = 0

    def forward_features(self, images: Tensor) -> Tensor:
        """Return one token a patch."""
        patches = nn.functional.avg_pool2d(images, 8).repeat(1, 2, 1, 1)
        return patches.flatten(2).transpose(1, 2)


def test_a_users_module_gives_tokens() -> None:
    backbone = Backbone(OwnNetwork(), BackboneConfig(name="own:make"))
    tokens = backbone(torch.ones(1, 3, 16, 24))
    assert (tokens.grid, tokens.patches.shape) == ((2, 3), (1, 6, 6))
    torch.testing.assert_close(tokens.cls, torch.ones(1, 6))


def test_what_a_users_module_says_nothing_of_is_seen() -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("patch_size", "num_features", "num_prefix_tokens"):
            patch.delattr(OwnNetwork, name)
        backbone = Backbone(OwnNetwork(), BackboneConfig(name="own:make"))
    assert (backbone.patch_size, backbone.width, backbone.num_registers) == (8, 6, 0)
    assert backbone(torch.ones(1, 3, 16, 24)).grid == (2, 3)


class OwnConvolutions(nn.Module):
    """A stranger's convolutional network, which says nothing of its stride."""

    num_features = 4

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(5, 4, 3, stride=4, padding=1)

    def forward_features(self, images: Tensor) -> Tensor:
        """Return a map."""
        return self.conv(images)  # type: ignore[no-any-return]


def test_the_stride_of_a_users_convolutional_network_is_seen_in_its_map() -> None:
    backbone = Backbone(OwnConvolutions(), BackboneConfig(name="own:make", in_channels=5))
    assert backbone.patch_size == 4
    assert backbone(torch.ones(1, 5, 16, 24)).grid == (4, 6)


def test_what_a_module_gives_counts_and_not_what_it_says() -> None:
    module = OwnNetwork()
    module.num_prefix_tokens = 1
    backbone = Backbone(module, BackboneConfig(name="own:make"))
    assert backbone(torch.ones(1, 3, 16, 16)).patches.shape == (1, 4, 6)


class Squares(OwnNetwork):
    """Refuses all but one size, or gives what is no backbone's feature."""

    image_size = 32

    def __init__(self, kind: str = "") -> None:
        super().__init__()
        self.kind = kind

    def forward_features(self, images: Tensor) -> Any:
        """Return tokens of a square, or something else."""
        if images.shape[-1] != 32 or images.shape[-2] != 32:
            raise RuntimeError("The size of tensor a must match\nand more lines")
        tokens = super().forward_features(images)
        return {"cls": tokens[:, :1], "list": [tokens, tokens], "none": None}.get(self.kind, tokens)


def test_a_network_of_one_size_says_which() -> None:
    backbone = Backbone(Squares(), BackboneConfig(name="own:make"))
    assert backbone(torch.ones(1, 3, 32, 32)).grid == (4, 4)
    with pytest.raises(ConfigError, match=r"no pictures of 48x40 \(.*match\): give 32x32"):
        backbone(torch.ones(1, 3, 40, 48))


@pytest.mark.parametrize(
    ("kind", "words"),
    [("cls", r"shape \[1, 1, 6\]"), ("list", "2 outputs"), ("none", "NoneType")],
)
def test_a_network_without_patches_is_one_sentence(kind: str, words: str) -> None:
    with pytest.raises(ConfigError, match=f"own:make is no backbone for patches .*{words}"):
        Backbone(Squares(kind), BackboneConfig(name="own:make"))


class Channels(OwnConvolutions):
    """Gives maps with the channels last."""

    def forward_features(self, images: Tensor) -> Tensor:
        """Return a map."""
        return super().forward_features(images).permute(0, 2, 3, 1)


def test_channels_are_told_from_rows_and_columns() -> None:
    images = torch.randn(1, 5, 16, 24)
    backbone = Backbone(Channels(), BackboneConfig(name="own:make", in_channels=5))
    assert (backbone.width, backbone.patch_size) == (4, 4)
    tokens = backbone(images)
    assert torch.equal(tokens.patch_map(), backbone.module.forward_features(images))


def test_configurations_are_frozen(backbone_config: BackboneConfig) -> None:
    with warnings.catch_warnings():
        assert replace(backbone_config, frozen=False) != backbone_config
    with pytest.raises(AttributeError):
        backbone_config.frozen = False  # type: ignore[misc]
