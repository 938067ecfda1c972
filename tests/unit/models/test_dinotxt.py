from dataclasses import replace

import pytest
import torch

from dinotxt.errors import CheckpointError, ConfigError
from dinotxt.models.config import (
    BackboneConfig,
    Embedding,
    ModelConfig,
    Pooling,
    RawClsConfig,
    VisionHeadConfig,
)
from dinotxt.models.dinotxt import DinoTxt
from dinotxt.models.vision.drop_path import SubsetDraw
from dinotxt.models.vision.input_norm import Standardize


def with_head(config: ModelConfig, **options: object) -> DinoTxt:
    head = VisionHeadConfig(**{"num_blocks": 0, **options})  # type: ignore[arg-type]
    return DinoTxt.from_config(replace(config, vision_head=head)).eval()


def test_both_towers_give_features_of_one_width(model_config: ModelConfig) -> None:
    model = DinoTxt.from_config(model_config).eval()
    image = model.encode_image(torch.randn(2, 3, 28, 42))
    text = model.encode_text(torch.tensor([[1, 2, 0], [3, 4, 5]]), torch.tensor([2, 3]))
    assert image.shape == text.shape == (2, model.embed_dim) == (2, 64)
    assert model.logit_scale.item() == pytest.approx(2.65926, abs=1e-5)


@pytest.mark.parametrize(
    ("pooling", "start"), [("cls_avg", 32), ("cls_max", 32), ("avg", 0), ("max", 0), ("cls", 0)]
)
def test_dense_text_is_the_part_that_was_aligned_with_patches(
    model_config: ModelConfig, pooling: Pooling, start: int
) -> None:
    model = with_head(model_config, pooling=pooling)
    features = torch.randn(5, model.embed_dim)
    assert torch.equal(model.dense_text(features), features[:, start:])
    patches = model.encode_patches(torch.randn(2, 3, 28, 42))
    assert patches.shape == (2, 2, 3, model.dense_text(features).shape[1])


def test_patches_average_to_the_second_half_of_the_image_feature(
    model_config: ModelConfig,
) -> None:
    model = DinoTxt.from_config(model_config).eval()
    images = torch.randn(2, 3, 28, 42)
    patches = model.encode_patches(images).mean(dim=(1, 2))
    torch.testing.assert_close(model.dense_text(model.encode_image(images)), patches)


def test_with_cls_pooling_patches_are_values(model_config: ModelConfig) -> None:
    images = torch.randn(1, 3, 28, 28)
    plain = with_head(model_config, pooling="cls")
    assert torch.equal(plain.encode_patches(images), plain.backbone.values(images).patch_map())
    blocks = with_head(model_config, pooling="cls", num_blocks=1, num_heads=2)
    expected = blocks.vision_head.values(blocks.backbone(images)).patch_map()
    assert torch.equal(blocks.encode_patches(images), expected)


def test_a_cls_projection_cannot_be_compared_with_patches(model_config: ModelConfig) -> None:
    model = with_head(model_config, pooling="cls", cls_projection=64)
    assert model.encode_image(torch.randn(1, 3, 28, 28)).shape == (1, 64)
    with pytest.raises(ConfigError, match="cls_projection"):
        model.dense_text(torch.randn(2, 64))


def test_cached_tokens_give_what_pictures_give(model_config: ModelConfig) -> None:
    model = DinoTxt.from_config(model_config).train()
    images = torch.randn(4, 3, 28, 28)
    draw = SubsetDraw(seed=0, step=0, global_batch=4, start=0, size=4)
    tokens = model.backbone(images)
    torch.testing.assert_close(
        model.encode_tokens(tokens, draw=draw), model.encode_image(images, draw=draw)
    )


def test_frozen_backbone_stays_in_eval_after_train(model_config: ModelConfig) -> None:
    model = DinoTxt.from_config(model_config).train()
    assert model.vision_head.training
    assert not any(module.training for module in model.backbone.modules())


def test_a_training_step_reaches_every_trainable_parameter_and_no_frozen_one(
    model_config: ModelConfig,
) -> None:
    head = replace(model_config.vision_head, drop_path=0.0)
    model = DinoTxt.from_config(replace(model_config, vision_head=head)).train()
    image = model.encode_image(torch.randn(2, 3, 28, 28))
    text = model.encode_text(torch.tensor([[1, 2], [3, 4]]), torch.tensor([2, 2]))
    loss = (image @ text.T * model.logit_scale.exp()).square().sum()
    torch.autograd.backward(loss)
    for name, value in model.named_parameters():
        assert (value.grad is None) == name.startswith("backbone.")


def test_the_logit_scale_stays_between_one_and_a_hundred(model_config: ModelConfig) -> None:
    model = DinoTxt.from_config(model_config)
    for start, end in ((9.0, 4.60517), (-1.0, 0.0), (2.0, 2.0)):
        torch.nn.init.constant_(model.logit_scale, start)
        model.clamp_logit_scale()
        assert model.logit_scale.item() == pytest.approx(end, abs=1e-5)


def test_what_is_saved_is_what_trains_and_loads_into_a_model_without_storage(
    model_config: ModelConfig,
) -> None:
    model = DinoTxt.from_config(model_config).eval()
    state = model.trainable_state_dict()
    assert set(state) == {name for name, value in model.named_parameters() if value.requires_grad}
    other = DinoTxt.from_config(model_config, initialize=False).eval()
    assert other.vision_head.ln_final.weight.is_meta
    other.load_trainable(state, "file")
    images = torch.randn(1, 3, 28, 28)
    assert torch.equal(other.encode_image(images), model.encode_image(images))
    assert other.logit_scale.requires_grad


def test_freezing_a_part_for_inference_does_not_change_what_is_saved(
    model_config: ModelConfig,
) -> None:
    model = DinoTxt.from_config(model_config)
    before = set(model.trainable_state_dict())
    model.requires_grad_(False)
    assert set(model.trainable_state_dict()) == before


def test_another_models_state_is_refused_with_every_key(model_config: ModelConfig) -> None:
    model = DinoTxt.from_config(model_config)
    state = model.trainable_state_dict()
    del state["logit_scale"]
    state["vision_head.ln_final.bias"] = torch.ones(5)
    with pytest.raises(CheckpointError) as caught:
        model.load_trainable(state, "file.safetensors")
    for part in ("file.safetensors", "missing logit_scale", "ln_final.bias is (5,)"):
        assert part in str(caught.value)


def test_a_trained_backbone_is_saved_with_the_rest(model_config: ModelConfig) -> None:
    backbone = replace(model_config.backbone, frozen=False)
    model = DinoTxt.from_config(replace(model_config, backbone=backbone))
    assert any(name.startswith("backbone.module.") for name in model.trainable_state_dict())


def test_the_frozen_hash_follows_the_backbone(model_config: ModelConfig) -> None:
    first, second = (DinoTxt.from_config(model_config) for _ in range(2))
    assert first.frozen_hash() == second.frozen_hash()
    backbone = replace(model_config.backbone, options={**model_config.backbone.options, "depth": 1})
    other = DinoTxt.from_config(replace(model_config, backbone=backbone))
    assert other.frozen_hash() != first.frozen_hash()


def test_a_frozen_logit_scale_does_not_train_but_is_saved(model_config: ModelConfig) -> None:
    config = replace(model_config, logit_scale_init=3.0, logit_scale_frozen=True)
    model = DinoTxt.from_config(config)
    assert not model.logit_scale.requires_grad
    assert model.trainable_state_dict()["logit_scale"].item() == 3.0
    other = DinoTxt.from_config(config, initialize=False)
    other.load_trainable(model.trainable_state_dict(), "file")
    assert not other.logit_scale.requires_grad


def test_statistics_of_a_standardised_head_load_into_a_model_without_storage(
    model_config: ModelConfig,
) -> None:
    head = VisionHeadConfig(num_blocks=0, dim=16, input_norm="standard", pooling="avg")
    config = replace(model_config, vision_head=head)
    model = DinoTxt.from_config(config).eval()
    assert isinstance(model.vision_head.input_norm, Standardize)
    model.vision_head.input_norm.set_statistics(torch.ones(32), torch.full((32,), 2.0))
    other = DinoTxt.from_config(config, initialize=False).eval()
    other.load_trainable(model.trainable_state_dict(), "file")
    images = torch.randn(1, 3, 28, 28)
    assert torch.equal(other.encode_image(images), model.encode_image(images))


@pytest.mark.parametrize("num_blocks", [0, 1])
def test_the_four_embeddings_of_a_patch(model_config: ModelConfig, num_blocks: int) -> None:
    model = with_head(model_config, num_blocks=num_blocks, num_heads=2)
    images = torch.randn(2, 3, 28, 42)
    tokens = model.vision_head(model.backbone(images))
    if num_blocks:
        value = model.vision_head.values(model.backbone(images)).patch_map()
    else:
        value = model.backbone.values(images).patch_map()
    patch, cls = tokens.patch_map(), tokens.cls[:, None, None].expand(-1, 2, 3, -1)
    assert torch.equal(model.encode_patches(images), patch)
    assert torch.equal(model.encode_patches(images, "value"), value)
    assert torch.equal(model.encode_patches(images, "cls_patch"), torch.cat([cls, patch], -1))
    assert torch.equal(model.encode_patches(images, "value_patch"), torch.cat([value, patch], -1))
    assert not torch.allclose(value, patch)


def test_each_embedding_is_compared_with_its_part_of_the_text(model_config: ModelConfig) -> None:
    model = with_head(model_config)
    text = torch.randn(5, 64)
    assert torch.equal(model.dense_text(text, "patch"), text[:, 32:])
    assert torch.equal(model.dense_text(text, "value"), text[:, :32])
    assert torch.equal(model.dense_text(text, "value", "patch"), text[:, 32:])
    joined: Embedding
    for joined in ("cls_patch", "value_patch"):
        assert torch.equal(model.dense_text(text, joined), text)
        assert model.patch_dim(joined) == 64
    one_half = with_head(model_config, pooling="avg")
    assert torch.equal(one_half.dense_text(text[:, :32], "value"), text[:, :32])


def test_the_backbones_own_patches_are_compared_with_the_patch_half(
    model_config: ModelConfig,
) -> None:
    """As DINOv3's segmentation notebook does, which unpacks (cls, _, patches) of the backbone."""
    model = with_head(model_config)
    images, text = torch.randn(2, 3, 28, 42), torch.randn(5, 64)
    frozen = model.backbone(images).patch_map()
    assert torch.equal(model.encode_patches(images, "backbone"), frozen)
    assert torch.equal(model.dense_text(text, "backbone"), text[:, 32:])
    assert model.patch_dim("backbone") == 32
    patches, beside = model.encode_patches_beside(images)
    assert torch.equal(patches, model.encode_patches(images))
    assert torch.equal(beside, frozen)
    narrow = with_head(model_config, dim=16)
    with pytest.raises(ConfigError, match="patches of width 32 with a text feature of width 16"):
        narrow.encode_patches(images, "backbone")


@pytest.mark.parametrize("pooling", ["avg", "max", "cls"])
def test_joined_embeddings_need_two_halves(model_config: ModelConfig, pooling: Pooling) -> None:
    model = with_head(model_config, pooling=pooling)
    embedding: Embedding
    for embedding in ("cls_patch", "value_patch"):
        with pytest.raises(ConfigError, match="two halves"):
            model.encode_patches(torch.randn(1, 3, 28, 28), embedding)


def test_a_network_without_attention_has_no_value_embedding(model_config: ModelConfig) -> None:
    backbone = BackboneConfig(name="resnet10t", weights="random")
    head = VisionHeadConfig(num_blocks=0)
    model = DinoTxt.from_config(replace(model_config, backbone=backbone, vision_head=head)).eval()
    with pytest.raises(ConfigError, match="last attention"):
        model.check_embedding("value")
    model.check_embedding("cls_patch")


def test_halves_get_the_lengths_that_their_weights_say(model_config: ModelConfig) -> None:
    config = replace(model_config, half_weights=(0.5, 2.0))
    model, plain = DinoTxt.from_config(config).eval(), DinoTxt.from_config(model_config).eval()
    plain.load_state_dict(model.state_dict())
    images = torch.randn(2, 3, 28, 28)
    weighed, whole = model.encode_image(images), plain.encode_image(images)
    for part, length in ((slice(0, 32), 0.5), (slice(32, 64), 2.0)):
        expected = length * whole[:, part] / whole[:, part].norm(dim=1, keepdim=True)
        torch.testing.assert_close(weighed[:, part], expected)
    text = model.encode_text(torch.tensor([[1, 2]]), torch.tensor([2]))
    assert text[:, :32].norm().item() == pytest.approx(0.5, abs=1e-5)
    joined = model.encode_patches(torch.randn(1, 3, 28, 42), "cls_patch")
    assert joined.shape == (1, 2, 3, 64)
    torch.testing.assert_close(joined[..., :32].norm(dim=-1), torch.full((1, 2, 3), 0.5))
    with pytest.raises(ConfigError, match="half_weights needs"):
        with_head(config, pooling="avg")


def test_a_raw_cls_half_may_be_wider_than_the_patches(model_config: ModelConfig) -> None:
    model = with_head(model_config, dim=8, pooling="cls_avg", raw_cls=RawClsConfig())
    images = torch.randn(1, 3, 28, 28)
    assert model.embed_dim == model.backbone.width + 8
    assert model.patch_dim() == 8
    assert model.patch_dim("cls_patch") == model.embed_dim
    features = model.encode_image(images)
    torch.testing.assert_close(
        model.dense_text(features), model.encode_patches(images).mean(dim=(1, 2))
    )
    assert model.encode_patches(images, "cls_patch").shape[-1] == model.embed_dim
    with pytest.raises(ConfigError, match="cls half is raw"):
        model.encode_patches(images, "value_patch")
