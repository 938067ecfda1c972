import pytest
import timm
import torch

from dinotxt.models.vision.position import PositionEmbedding, resample

TINY = {"embed_dim": 32, "depth": 1, "num_heads": 2, "num_classes": 0, "dynamic_img_size": True}


def test_the_trained_grid_is_left_alone() -> None:
    embedding = torch.randn(1, 12, 8)
    assert resample(embedding, (3, 4), (3, 4), offset_rule=True) is embedding


def test_the_offset_rule_samples_with_the_scale_of_n_plus_a_tenth() -> None:
    embedding = torch.randn(1, 25, 8)
    picture = embedding.view(1, 5, 5, 8).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(
        picture, scale_factor=(3.1 / 5, 7.1 / 5), mode="bicubic"
    )
    actual = resample(embedding, (5, 5), (3, 7), offset_rule=True)
    assert torch.equal(actual, expected.permute(0, 2, 3, 1).reshape(1, 21, 8))


@pytest.mark.parametrize("grid", [(1, 1), (16, 16), (3, 40), (37, 36)])
@pytest.mark.parametrize("offset_rule", [True, False])
def test_every_grid_gets_one_vector_a_patch(grid: tuple[int, int], offset_rule: bool) -> None:
    embedding = torch.randn(1, 37 * 37, 4)
    resampled = resample(embedding, (37, 37), grid, offset_rule=offset_rule)
    assert resampled.shape == (1, grid[0] * grid[1], 4)


@pytest.mark.parametrize("name", ["vit_small_patch14_reg4_dinov2", "vit_base_patch16_224"])
def test_without_the_offset_rule_it_is_timms_own_way(name: str) -> None:
    vit = timm.create_model(name, **TINY).eval()
    side = 4 * vit.patch_embed.patch_size[0]
    images = torch.randn(2, 3, side, 2 * side)
    patches = vit.patch_embed(images)
    expected = vit._pos_embed(patches)
    assert torch.equal(PositionEmbedding(vit, offset_rule=False)(patches), expected)


def test_a_frozen_embedding_is_resampled_once_and_again_after_a_change() -> None:
    vit = timm.create_model("vit_small_patch14_dinov2", **TINY).requires_grad_(False)
    position = PositionEmbedding(vit, offset_rule=True)
    first = position.at((4, 4))
    assert position.at((4, 4)) is first
    vit.pos_embed.add_(1)
    torch.testing.assert_close(position.at((4, 4)), first + 1, rtol=1e-4, atol=1e-4)


def test_the_cache_of_grids_stays_small() -> None:
    vit = timm.create_model("vit_small_patch14_dinov2", **TINY).requires_grad_(False)
    position = PositionEmbedding(vit, offset_rule=True)
    for width in range(1, 80):
        position.at((1, width))
    assert len(position._cache) <= 32


def test_an_embedding_in_training_gets_gradients() -> None:
    vit = timm.create_model("vit_small_patch14_dinov2", **TINY)
    total = PositionEmbedding(vit, offset_rule=True).at((4, 4)).sum()
    (gradient,) = torch.autograd.grad(total, [vit.pos_embed])
    assert gradient.abs().sum() > 0
