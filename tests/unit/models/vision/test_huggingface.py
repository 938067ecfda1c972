from pathlib import Path
from typing import Any

import pytest
import torch

from dinotxt.errors import CheckpointError
from dinotxt.models.config import BackboneConfig
from dinotxt.models.vision.backbone import Backbone
from dinotxt.models.vision.huggingface import _cut, load_auto_model

transformers = pytest.importorskip("transformers")

SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def save_vit(folder: Path, kind: str) -> str:
    config = {
        "vit": transformers.ViTConfig(**SMALL, intermediate_size=64, image_size=32),
        "dinov2": transformers.Dinov2WithRegistersConfig(
            **SMALL, patch_size=14, image_size=56, num_register_tokens=4
        ),
    }[kind]
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    return f"hf:{folder}"


@pytest.mark.parametrize(
    ("kind", "registers", "size", "grid"),
    [("vit", 0, (48, 32), (3, 2)), ("dinov2", 4, (28, 42), (2, 3))],
)
def test_a_hugging_face_folder_is_a_backbone(
    tmp_path: Path, kind: str, registers: int, size: tuple[int, int], grid: tuple[int, int]
) -> None:
    backbone = Backbone.from_config(BackboneConfig(name=save_vit(tmp_path, kind)))
    tokens = backbone(torch.randn(2, 3, *size))
    assert (backbone.width, backbone.num_registers) == (32, registers)
    assert tokens.grid == grid
    assert tokens.patches.shape == (2, grid[0] * grid[1], 32)
    assert not any(value.requires_grad for value in backbone.parameters())


def test_a_hugging_face_convolutional_network_is_a_backbone(tmp_path: Path) -> None:
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], layer_type="basic"
    )
    transformers.AutoModel.from_config(config).save_pretrained(tmp_path)
    backbone = Backbone.from_config(BackboneConfig(name=f"hf:{tmp_path}"))
    tokens = backbone(torch.randn(1, 3, 64, 96))
    assert (backbone.width, tokens.grid, tokens.patches.shape) == (16, (2, 3), (1, 6, 16))


TINY = {**SMALL, "intermediate_size": 64, "image_size": 64}
STAGED = {"image_size": 64, "embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2]}


@pytest.mark.parametrize(
    ("kind", "values", "width", "stride", "prefix"),
    [
        ("IJepa", TINY, 32, 16, 0),
        ("Aimv2Vision", {**TINY, "patch_size": 16}, 32, 16, 0),
        ("DeiT", TINY, 32, 16, 2),
        ("ViTMAE", TINY, 32, 16, 1),
        ("Yolos", {**TINY, "image_size": [64, 64], "num_detection_tokens": 9}, 32, 16, 1),
        ("Siglip2Vision", {**TINY, "num_patches": 16}, 32, 16, 0),
        ("Swin", {**STAGED, "window_size": 2}, 64, 32, 0),
        ("MobileNetV2", {"image_size": 64, "depth_multiplier": 0.35}, 1280, 32, 0),
    ],
)
def test_any_vision_model_of_transformers_is_seen_as_it_is(
    kind: str, values: dict[str, Any], width: int, stride: int, prefix: int, tmp_path: Path
) -> None:
    """Layouts as their configurations say, in transformers 5.24: prefixes are 0 for I-JEPA and
    AIMv2, 2 for DeiT, 1 before and 9 behind for YOLOS; Swin's ``patch_size`` is its first stage's.
    """
    config = getattr(transformers, f"{kind}Config")(**values)
    getattr(transformers, f"{kind}Model")(config).save_pretrained(tmp_path)
    backbone = Backbone.from_config(BackboneConfig(name=f"hf:{tmp_path}"))
    layout = backbone.layout
    assert (layout.width, layout.stride, layout.num_prefix) == (width, stride, prefix)
    images = torch.randn(2, 3, 64, 64)
    tokens = backbone(images)
    side = 64 // stride
    assert (tokens.grid, tokens.patches.shape) == ((side, side), (2, side * side, width))
    assert torch.equal(backbone(images).patches, tokens.patches)


def test_no_patch_of_mae_is_hidden_and_all_are_in_order(tmp_path: Path) -> None:
    """ViTMAEModel of transformers 5.24 hides 75% in eval mode, other ones at each call."""
    model = transformers.ViTMAEModel(transformers.ViTMAEConfig(**TINY)).eval()
    model.save_pretrained(tmp_path)
    backbone = Backbone.from_config(BackboneConfig(name=f"hf:{tmp_path}"))
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        embeddings = model.embeddings
        patches = embeddings.patch_embeddings(images) + embeddings.position_embeddings[:, 1:]
        cls = embeddings.cls_token + embeddings.position_embeddings[:, :1]
        hidden = torch.cat([cls, patches], dim=1)
        for layer in model.layers:
            given = layer(hidden)
            hidden = given[0] if isinstance(given, tuple) else given
        expected = model.layernorm(hidden)
    torch.testing.assert_close(backbone(images).patches, expected[:, 1:])


def test_pictures_are_cut_as_siglip_2s_own_processor_cuts_them() -> None:
    from transformers.models.siglip2.image_processing_siglip2 import convert_image_to_patches

    image = torch.randn(3, 32, 48)
    cut = _cut(image[None], 16)
    theirs = torch.as_tensor(convert_image_to_patches(image, 16))
    assert torch.equal(cut["pixel_values"][0], theirs)
    assert cut["spatial_shapes"].tolist() == [[2, 3]]


def test_a_folder_without_a_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no usable Hugging Face model"):
        load_auto_model(str(tmp_path))
