"""The gram loss in training: which patches it compares, and what it refuses."""

from collections.abc import Callable

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from dinotxt.errors import ConfigError
from dinotxt.losses import gram_loss
from dinotxt.models.dinotxt import DinoTxt
from dinotxt.models.vision.drop_path import SubsetDraw
from dinotxt.training.config import GramConfig, TrainConfig
from dinotxt.training.feed.batches import Batch
from dinotxt.training.feed.vision import needed_patches
from dinotxt.training.update.towers import Mixture, TrainedTowers

Make = Callable[..., TrainConfig]
DRAW = SubsetDraw(seed=1, step=2, global_batch=10, start=4, size=5)


def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(5, 3, 32, 32, generator=generator)
    return Batch(images, torch.randint(1, 99, (5, 4), generator=generator), torch.full((5,), 4))


def build(config: Make, *overrides: str) -> DinoTxt:
    torch.manual_seed(0)
    fixed = ("model.backbone.options.patch_size=8", "model.vision_head.drop_path=0")
    return DinoTxt.from_config(config(*fixed, *overrides).model).train()


def part(model: DinoTxt, config: GramConfig, **options: float) -> Tensor:
    """Return what five pictures, of ten in all, add to the loss."""
    towers = TrainedTowers(model, captions="drawn", gram=config, **options).train()
    one = batch()
    assert isinstance(one.vision, Tensor)
    _, _, found = towers(model.backbone(one.vision), one, DRAW)
    assert isinstance(found, Tensor)
    return found


def test_it_is_off_unless_asked_for(config: Make) -> None:
    assert config().loss.gram is None
    asked = config("loss={kind: sigmoid, gram: {}}").loss.gram
    assert asked == GramConfig(weight=1.0, normalize=True, patches=None)


@pytest.mark.parametrize("normalize", [True, False])
def test_the_head_s_patches_are_held_against_the_backbone_s(config: Make, normalize: bool) -> None:
    model = build(config)
    tokens = model.backbone(batch().vision)
    own = model.vision_head(tokens, draw=DRAW)
    expected = 3 * gram_loss(own.patches, tokens.patches, normalize=normalize) * 5 / 10
    found = part(model, GramConfig(weight=3.0, normalize=normalize))
    torch.testing.assert_close(found, expected.reshape(1))
    assert found.item() > 0


def test_a_subset_of_the_patches_is_drawn_by_the_place_in_the_global_batch(config: Make) -> None:
    model = build(config)
    tokens = model.backbone(batch().vision)
    chosen = DRAW.compared_patches(16, 6)
    assert chosen.shape == (5, 6)
    whole = SubsetDraw(seed=1, step=2, global_batch=10, start=0, size=10)
    assert torch.equal(whole.compared_patches(16, 6)[4:9], chosen)
    own = model.vision_head(tokens, draw=DRAW)
    expected = gram_loss(own.keep(chosen).patches, tokens.keep(chosen).patches) * 5 / 10
    torch.testing.assert_close(part(model, GramConfig(patches=6)), expected.reshape(1))
    every = part(model, GramConfig(patches=99))
    torch.testing.assert_close(every, part(model, GramConfig()))


def test_dropped_patches_are_not_compared(config: Make) -> None:
    model = build(config, "model.vision_head.patch_dropout=0.5")
    tokens = model.backbone(batch().vision)
    own = model.vision_head(tokens, draw=DRAW)
    given = tokens.keep(DRAW.kept_patches(16, 0.5))
    expected = gram_loss(own.patches, given.patches) * 5 / 10
    torch.testing.assert_close(part(model, GramConfig()), expected.reshape(1))


def test_mixed_pictures_are_compared_as_the_head_gets_them(config: Make) -> None:
    model = build(config)
    torch.manual_seed(7)
    mixed = part(model, GramConfig(), mixup=1.0)
    torch.manual_seed(7)
    mixture = Mixture.draw(5, 1.0, torch.device("cpu"))
    tokens = mixture.blend_tokens(model.backbone(batch().vision))
    own = model.vision_head(tokens, draw=DRAW)
    torch.testing.assert_close(mixed, gram_loss(own.patches, tokens.patches).reshape(1) * 5 / 10)
    assert not torch.isclose(mixed, part(model, GramConfig()))


def test_a_cache_for_it_needs_all_tokens_also_without_blocks(config: Make) -> None:
    linear = "model.vision_head={num_blocks: 0, dim: 16}"
    assert needed_patches(config(linear)) == "avg"
    assert needed_patches(config(linear, "loss={kind: clip, gram: {}}")) is None


@pytest.mark.parametrize("norm", ["none", "standard"])
def test_a_head_that_leaves_the_patches_alone_is_refused(config: Make, norm: str) -> None:
    plain = f"model.vision_head={{num_blocks: 0, dim: null, input_norm: {norm}}}"
    with pytest.raises((ConfigError, ValidationError), match=r"loss\.gram compares .*num_blocks"):
        config(plain, "loss={kind: clip, gram: {}}")


@pytest.mark.parametrize("setting", ["patches: 1", "weight: 0", "weights: 1"])
def test_settings_without_a_sense_are_refused(config: Make, setting: str) -> None:
    with pytest.raises(ConfigError, match=r"loss.*gram"):
        config(f"loss={{kind: clip, gram: {{{setting}}}}}")
