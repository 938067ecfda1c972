import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file
from tests.unit.checkpoints.stub_hub import COMMIT, Hub, serving

from dinotxt.checkpoints.format import load_model, save_model
from dinotxt.checkpoints.pretrained import push_to_hub, save_pretrained
from dinotxt.data.pictures.transform import TransformConfig
from dinotxt.errors import CheckpointError, ConfigError
from dinotxt.inference.encoder import Encoder, load
from dinotxt.models.config import ModelConfig
from dinotxt.models.dinotxt import DinoTxt
from dinotxt.text.tokenizer import Tokenizer

REPORT = {
    "task": "eval classification",
    "model": "tiny",
    "data": "birds/",
    "n": 20,
    "metrics": {"top1": 0.25, "top5": 0.75, "iou": {"wren": 0.5}},
    "ci": {"top1": [0.1, 0.4]},
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A stand-in for the hub on the loopback."""
    with serving() as current:
        monkeypatch.setenv("HF_ENDPOINT", current.url)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
        yield current


@pytest.fixture
def run(config: ModelConfig, model: DinoTxt, tmp_path: Path) -> Path:
    """A model folder whose frozen backbone is a local file."""
    weights = tmp_path / "weights" / "backbone.safetensors"
    weights.parent.mkdir()
    save_file(dict(model.backbone.module.state_dict()), weights)
    local = replace(config, backbone=replace(config.backbone, weights=str(weights)))
    save_model(
        DinoTxt.from_config(local),
        tmp_path / "run",
        config=local,
        tokenizer=Tokenizer.clip(),
        transform=TransformConfig(size=56, resize="squash"),
        extra={"step": 7, "metrics": {"recall": 0.5}, "inference": {"size": 56}},
    )
    return tmp_path / "run"


PICTURE = Image.effect_noise((60, 60), 80).convert("RGB")


def test_a_saved_model_has_the_hubs_names_and_the_same_features(run: Path, tmp_path: Path) -> None:
    before = load(str(run))
    before.save_pretrained(tmp_path / "saved")
    names = {path.name for path in (tmp_path / "saved").iterdir()}
    assert names == {
        "README.md", "backbone.safetensors", "config.json", "model.safetensors", "tokenizer.json",
    }  # fmt: skip
    after = Encoder.from_pretrained(tmp_path / "saved")
    assert np.array_equal(after.encode_image([PICTURE]), before.encode_image([PICTURE]))
    assert after.fingerprint == before.fingerprint
    assert "vision_head.ln_final.weight" in load_file(tmp_path / "saved" / "model.safetensors")


def test_a_saved_model_needs_no_file_of_the_machine_it_was_made_on(
    run: Path, tmp_path: Path
) -> None:
    expected = load(str(run)).encode_image([PICTURE])
    save_pretrained(str(run), tmp_path / "saved")
    (tmp_path / "weights" / "backbone.safetensors").unlink()
    (tmp_path / "saved").rename(tmp_path / "moved")
    assert np.array_equal(load(tmp_path / "moved").encode_image([PICTURE]), expected)
    config = json.loads((tmp_path / "moved" / "config.json").read_text())
    assert str(tmp_path) not in json.dumps(config["model"])


def test_the_backbone_may_stay_where_it_is(run: Path, tmp_path: Path) -> None:
    save_pretrained(str(run), tmp_path / "saved", include_backbone=False)
    assert not (tmp_path / "saved" / "backbone.safetensors").exists()
    assert load_model(tmp_path / "saved").config.backbone.weights is not None


def test_a_model_that_changed_since_it_was_loaded_is_not_saved(run: Path, tmp_path: Path) -> None:
    encoder = load(str(run))
    config = json.loads((run / "config.json").read_text())
    config["transform"]["size"] = 70
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="has changed"):
        encoder.save_pretrained(tmp_path / "saved")


def test_the_card_states_what_was_measured(run: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    report.write_text(json.dumps(REPORT))
    save_pretrained(str(run), tmp_path / "saved", reports=[report], license_name="apache-2.0")
    _, head, card = (tmp_path / "saved" / "README.md").read_text().split("---\n", 2)
    metadata = yaml.safe_load(head)
    assert metadata["library_name"] == "dinotxt"
    assert metadata["license"] == "apache-2.0"
    result = metadata["model-index"][0]["results"][0]
    assert result["task"]["type"] == "zero-shot-image-classification"
    assert result["metrics"] == [{"type": "top1", "value": 0.25}, {"type": "top5", "value": 0.75}]
    assert "| `birds/` | 20 | top1 | 0.2500 | 0.1000 to 0.4000 |" in card
    assert "7 steps" in card
    assert "recall 0.5000" in card
    assert "$" not in card


def test_a_card_without_reports_says_that_nothing_was_measured(run: Path, tmp_path: Path) -> None:
    save_pretrained(str(run), tmp_path / "saved")
    text = (tmp_path / "saved" / "README.md").read_text()
    assert "Nothing was measured." in text
    assert "model-index" not in text


def test_a_model_goes_to_the_hub_and_comes_back(run: Path, hub: Hub) -> None:
    encoder = load(str(run))
    url = encoder.push_to_hub("me/tiny", private=True, reports=[REPORT])
    assert url == f"{hub.url}/me/tiny/commit/{COMMIT}"
    assert hub.created[0]["name"] == "tiny"
    assert "private" in (hub.created[0].get("visibility"), *hub.created[0])
    assert hub.files.keys() >= {"README.md", "config.json", "model.safetensors", "tokenizer.json"}
    again = Encoder.from_pretrained("me/tiny")
    assert again.name == "hf://me/tiny"
    assert np.array_equal(again.encode_image([PICTURE]), encoder.encode_image([PICTURE]))


def test_a_hub_that_refuses_is_an_error_that_names_the_login(run: Path, hub: Hub) -> None:
    hub.refused = True
    with pytest.raises(CheckpointError, match="hf auth login"):
        push_to_hub(str(run), "me/tiny")


def test_an_unknown_repository_is_an_error_that_names_the_fix(hub: Hub) -> None:
    with pytest.raises(CheckpointError, match="Check the name"):
        Encoder.from_pretrained("me/absent")
    with pytest.raises(CheckpointError, match="OWNER/NAME"):
        Encoder.from_pretrained("absent")


def test_the_hub_may_not_name_a_function_that_is_called(run: Path, hub: Hub) -> None:
    push_to_hub(str(run), "me/tiny")
    config = json.loads(hub.files["config.json"])
    config["model"]["backbone"]["name"] = "some.package:function"
    hub.files["config.json"] = json.dumps(config).encode()
    with pytest.raises(ConfigError, match="--trust-code"):
        load("hf://me/tiny")
