"""``dinotxt models`` on tiny files in Meta's layout."""

import json
from pathlib import Path

import pytest
import torch
from tests.integration.verbs import call
from typer.testing import Result

from dinotxt.models.weights import read_state_dict

GOLDEN = Path(__file__).parents[1] / "fixtures" / "golden"


def models(*arguments: str | Path) -> Result:
    return call("models", *arguments)


@pytest.fixture
def text_encoder(tmp_path: Path) -> Path:
    state = read_state_dict(GOLDEN / "vit14_text_encoder.safetensors")
    rows, values = state.pop("token_embedding.rows"), state.pop("token_embedding.values")
    state["backbone.token_embedding.weight"] = torch.zeros(49408, 64).index_copy(0, rows, values)
    torch.save(state, tmp_path / "text.pth")
    return tmp_path / "text.pth"


@pytest.mark.filterwarnings("ignore:These files hold no logit_scale")
def test_metas_files_become_a_folder_and_files_again(text_encoder: Path, tmp_path: Path) -> None:
    head = GOLDEN / "vit14_vision_head.safetensors"
    backbone = GOLDEN / "vit14_backbone.safetensors"
    files = ("--backbone", backbone, "--vision-head", head, "--text-encoder", text_encoder)
    out = tmp_path / "ours"
    result = models("convert", *files, "--text-num-heads", "4", "--out", out, "--json", "-")
    assert result.exit_code == 0, result.output
    names = {Path(path).name for path in json.loads(result.stdout)["files"]}
    assert {"config.json", "tokenizer.json"} < names

    result = models("info", out, "--json", "-")
    assert json.loads(result.stdout)["model"]["text_encoder"]["heads"] == 4

    again = tmp_path / "again"
    result = models("convert", "--model", out, "--out", again, "--format", "safetensors", "--quiet")
    assert result.exit_code == 0, result.output
    state = read_state_dict(again / "vision_head.safetensors")
    expected = read_state_dict(head)
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in state)


def test_the_list_names_every_model() -> None:
    result = models("list", "--json", "-")
    names = [model["name"] for model in json.loads(result.stdout)["models"]]
    assert names == ["lite", "dinov2-vitl14", "dinov3-vitl16"]
    assert "dinov2-vitl14" in models("list").stdout


def test_fetch_checks_the_hash_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(b"weights")
    result = models("fetch", path, "--json", "-")
    digest = json.loads(result.stdout)["files"][0]["sha256"]
    assert models("fetch", path, "--sha256", digest).exit_code == 0
    assert models("fetch", path, "--sha256", "0" * 64).exit_code == 1
    assert "expected" in models("fetch", path, "--sha256", "0" * 64).output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("convert", "--out", "x"), "--backbone"),
        (("convert", "--out", "x", "--model", "dinov2-vitl14"), "as they are"),
        (("fetch", "dinov2-vitl14", "--sha256", "0"), "one file"),
        (("info", "nothing"), "choose from"),
    ],
)
def test_wrong_use_is_one_message_and_exit_code_one(
    arguments: tuple[str, ...], message: str
) -> None:
    result = models(*arguments)
    assert result.exit_code == 1
    assert message in " ".join(result.output.split())
