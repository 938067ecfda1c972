import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers

from dinotxt.checkpoints.groupvit import load_groupvit
from dinotxt.errors import CheckpointError, ConfigError
from dinotxt.inference.encoder import Encoder, load
from dinotxt.inference.segmenter import Segmenter
from dinotxt.text.tokenizer import Tokenizer

PREPROCESSING = {
    "size": {"shortest_edge": 36},
    "crop_size": {"height": 32, "width": 32},
    "image_mean": [0.4, 0.4, 0.4],
    "image_std": [0.2, 0.2, 0.2],
    "resample": 2,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "groupvit"
    torch.manual_seed(0)
    width: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    groups = {"num_group_tokens": [6, 4, 0], "num_output_groups": [6, 4, 0], "depths": [1, 1, 1]}
    config = transformers.GroupViTConfig(
        text_config={**width, "num_hidden_layers": 1, "max_position_embeddings": 12},
        vision_config={**width, **groups, "image_size": 32, "patch_size": 8},
        projection_dim=16,
        projection_intermediate_dim=16,
    )
    model = transformers.GroupViTModel(config)
    with torch.no_grad():
        for value in model.parameters():
            value += 0.3 * torch.randn_like(value)
    model.save_pretrained(path)
    Tokenizer.clip(12).save(path / "tokenizer.json")
    (path / "preprocessor_config.json").write_text(json.dumps(PREPROCESSING))
    return path


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    return load(f"groupvit:{folder}", device="cpu")


@torch.inference_mode()
def test_features_are_those_of_transformers(folder: Path, encoder: Encoder) -> None:
    model = transformers.GroupViTModel.from_pretrained(folder).eval()
    pixels = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
    expected = model.get_image_features(torch.from_numpy(pixels)).pooler_output
    np.testing.assert_allclose(
        encoder.towers.encode_image(pixels), expected.numpy(), rtol=1e-3, atol=1e-4
    )
    tokens = encoder.tokenizer(["a cat", "a photo of two dogs"])
    mask = np.arange(tokens.ids.shape[1]) < tokens.lengths[:, None]
    text = model.get_text_features(
        torch.from_numpy(tokens.ids), attention_mask=torch.from_numpy(mask).long()
    ).pooler_output
    np.testing.assert_allclose(
        encoder.towers.encode_text(tokens), text.numpy(), rtol=1e-3, atol=1e-4
    )
    assert encoder.transform.config.size == 32
    assert encoder.transform.config.crop_ratio == 36 / 32
    assert encoder.transform.config.interpolation == "bilinear"


@torch.inference_mode()
def test_patches_give_the_segmentation_of_transformers(folder: Path, encoder: Encoder) -> None:
    model = transformers.GroupViTModel.from_pretrained(folder).eval()
    pixels = torch.from_numpy(
        np.random.default_rng(1).standard_normal((2, 3, 32, 32)).astype(np.float32)
    )
    tokens = encoder.tokenizer(["a cat", "a dog", "grass"])
    mask = torch.from_numpy(np.arange(tokens.ids.shape[1]) < tokens.lengths[:, None]).long()
    output = model(
        input_ids=torch.from_numpy(tokens.ids),
        attention_mask=mask,
        pixel_values=pixels,
        output_segmentation=True,
    )
    expected = output.segmentation_logits / model.logit_scale.exp() ** 2
    text = F.normalize(torch.from_numpy(encoder.towers.encode_text(tokens)), dim=-1)
    patches = torch.from_numpy(encoder.towers.encode_patches(pixels.numpy()))
    maps = (patches @ text.T).permute(0, 3, 1, 2)
    actual = F.interpolate(maps, size=(32, 32), mode="bilinear", align_corners=False)
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-4)


def test_pictures_of_any_aspect_are_segmented(encoder: Encoder) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 90, 3), dtype=np.uint8)
    assert encoder.encode_patches(picture).shape == (4, 9, 16)
    result = Segmenter(encoder, ["cat", "dog"], templates="{}")(picture)
    assert sum(result.areas.values()) == pytest.approx(1)
    with pytest.raises(ConfigError, match="use patch"):
        encoder.with_embedding("value")


def test_another_kind_of_model_and_missing_files_are_refused(folder: Path, tmp_path: Path) -> None:
    config = transformers.ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    transformers.ViTModel(config).save_pretrained(tmp_path / "vit")
    with pytest.raises(CheckpointError, match="takes GroupViT alone"):
        load_groupvit(f"groupvit:{tmp_path / 'vit'}")
    part = tmp_path / "part"
    part.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (part / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(CheckpointError, match=r"has no preprocessor_config\.json"):
        load_groupvit(f"groupvit:{part}")
    (part / "preprocessor_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="cannot be used"):
        load_groupvit(f"groupvit:{part}")
