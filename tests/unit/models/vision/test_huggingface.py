from pathlib import Path

import pytest
import torch

from dinotxt.errors import CheckpointError
from dinotxt.models.config import BackboneConfig
from dinotxt.models.vision.backbone import Backbone
from dinotxt.models.vision.huggingface import load_auto_model

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


def test_a_folder_without_a_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no usable Hugging Face model"):
        load_auto_model(str(tmp_path))
