"""``dinotxt eval`` on published data sets in their own layout, with a tiny random model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

RunVerb = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def ade20k(tmp_path: Path) -> Path:
    """Two pictures in the layout of ADEChallengeData2016."""
    generator = np.random.default_rng(0)
    root = tmp_path / "ADEChallengeData2016"
    for number in range(2):
        name = f"ADE_val_0000000{number}"
        for folder in ("images", "annotations"):
            (root / folder / "validation").mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (20, 26, 3), np.uint8)
        Image.fromarray(pixels).save(root / "images" / "validation" / f"{name}.jpg")
        labels = generator.integers(0, 151, (20, 26)).astype(np.uint8)
        Image.fromarray(labels).save(root / "annotations" / "validation" / f"{name}.png")
    return tmp_path


def test_a_published_set_is_measured_beside_the_papers_figures(
    ade20k: Path, tiny_model: Path, tmp_path: Path, run: RunVerb
) -> None:
    arguments: list[object] = ["eval", "segmentation", "--data", f"ade20k:{ade20k}"]
    arguments += ["--model", tiny_model]
    arguments += ("--templates", "{}", "--embedding", "cls_patch", "--mode", "highres")
    arguments += ("--crops", 8, "--size", 32, "--classes", "full", "--resume", tmp_path / "kept")
    code, result, _ = run(*arguments)
    assert code == 0
    assert result["n"] == 2
    assert "building, edifice" in result["metrics"]["iou"]
    protocol = result["protocol"]
    assert (protocol["dataset"], protocol["embedding"]) == ("ade20k", "cls_patch")
    assert (protocol["mode"], protocol["crops"]) == ("HighRes", 8)
    models = {figure["model"] for figure in result["published"]}
    assert "dino.txt L/14, high resolution" in models
    code, again, _ = run(*arguments)
    assert code == 0
    assert again["metrics"] == result["metrics"]
    code, _, errors = run(*arguments, "--every", 2)
    assert code == 1
    assert "holds another evaluation" in errors


def test_a_folder_that_is_not_the_set_exits_1_and_says_what_is_missing(
    tiny_model: Path, tmp_path: Path, run: RunVerb
) -> None:
    code, _, errors = run(
        "eval", "segmentation", "--data", f"cityscapes:{tmp_path}", "--model", tiny_model
    )
    assert code == 1
    assert "it has no leftImg8bit/val/, no gtFine/val/" in errors


def test_classification_trims_objectnets_border(
    tiny_model: Path, tmp_path: Path, run: RunVerb
) -> None:
    base = tmp_path / "objectnet-1.0"
    (base / "images" / "chair").mkdir(parents=True)
    Image.new("RGB", (20, 20), (255, 0, 0)).save(base / "images" / "chair" / "1.png")
    (base / "mappings").mkdir()
    for name, content in (
        ("folder_to_objectnet_label", {"chair": "Chair"}),
        ("objectnet_to_imagenet_1k", {"Chair": "folding chair"}),
    ):
        (base / "mappings" / f"{name}.json").write_text(json.dumps(content))
    arguments: list[object] = ["eval", "classification", "--data", f"objectnet:{tmp_path}"]
    arguments += ("--model", tiny_model, "--templates", "{}", "--trim-border", 2)
    code, result, _ = run(*arguments)
    assert code == 0
    assert result["protocol"]["trim_border"] == 2
    assert result["metrics"]["top1"] == 1
