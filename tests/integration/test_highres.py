"""High-resolution segmentation from the command line, on a tiny random model."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.integration.verbs import call

_BUDGET = ["--mode", "highres", "--size", "32"]


@pytest.fixture
def model(tiny_model: Path) -> list[object]:
    return ["--model", tiny_model, "--device", "cpu", "--templates", "simple"]


def test_segment_prints_crops_and_visits(
    model: list[object], pictures: dict[str, Path], tmp_path: Path
) -> None:
    path, out, log = pictures["half"], tmp_path / "out", tmp_path / "log.json"
    segment = ["segment", path, "--labels", "a,b", "--out", out, *model, *_BUDGET, "--json", log]
    result = call(*segment, "--crops", 30)
    assert result.exit_code == 0, result.output
    content = json.loads(log.read_text())
    assert content["crops"] == 30
    assert content["visits"] == pytest.approx(3.9, abs=0.2)
    assert f"30 crops a picture, {content['visits']} visits a pixel" in result.output
    first = np.asarray(Image.open(content["results"][0]["label_map"]))
    assert first.shape == (40, 48)
    assert call(*segment, "--crops", 30).exit_code == 0
    assert np.array_equal(first, np.asarray(Image.open(content["results"][0]["label_map"])))


def test_seconds_become_a_number_of_crops_that_is_printed(
    model: list[object], pictures: dict[str, Path], tmp_path: Path
) -> None:
    path, out = pictures["half"], tmp_path / "out"
    segment = ["segment", path, "--labels", "a,b", "--out", out, *model, *_BUDGET]
    result = call(*segment, "--seconds", 0.01)
    assert result.exit_code == 0, result.output
    assert "crops a picture" in result.output
    result = call(*segment, "--seconds", 0.01, "--json", "-")
    crops = json.loads(result.stdout)["crops"]
    assert f"{crops} crops a picture" in result.stderr
    result = call(*segment, "--seconds", 0.01, "--json", "-", "--quiet")
    assert not result.stderr


def test_the_number_of_crops_that_seconds_become_repeats_the_run(
    tiny_model: Path, pictures: dict[str, Path], tmp_path: Path
) -> None:
    run = shutil.copytree(tiny_model, tmp_path / "run")
    config = json.loads((run / "model" / "config.json").read_text())
    own = config.setdefault("extra", {})
    own["inference"] = {"crop_areas": [0.3, 0.6], "crop_shares": [0.5, 0.5], "crop_size": 32}
    (run / "model" / "config.json").write_text(json.dumps(config))
    segment = ["segment", pictures["half"], "--labels", "a,b", "--mode", "highres", "--model", run]
    log = tmp_path / "log.json"
    assert call(*segment, "--out", tmp_path / "1", "--seconds", 0.05, "--json", log).exit_code == 0
    first = json.loads(log.read_text())
    again = [*segment, "--out", tmp_path / "2", "--crops", first["crops"], "--json", log]
    assert call(*again).exit_code == 0
    second = json.loads(log.read_text())
    assert (second["crops"], second["visits"]) == (first["crops"], first["visits"])
    assert second["results"][0]["areas"] == first["results"][0]["areas"]


@pytest.mark.parametrize(
    "wrong",
    [
        ["--mode", "highres", "--seconds", 1, "--crops", 9],
        ["--mode", "window", "--seconds", 1],
        ["--mode", "window", "--crops", 9],
        ["--mode", "highres", "--seconds", -1],
    ],
)
def test_budgets_that_make_no_sense_are_refused(
    model: list[object], pictures: dict[str, Path], tmp_path: Path, wrong: list[object]
) -> None:
    result = call("segment", pictures["red"], "--labels", "a", "--out", tmp_path, *model, *wrong)
    assert result.exit_code == 1
    assert "highres" in result.output or "positive" in result.output


def test_eval_states_the_mode_with_its_settings(model: list[object], tmp_path: Path) -> None:
    for folder in ("images", "labels"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    (tmp_path / "data" / "classes.txt").write_text("a\nb\n")
    Image.new("RGB", (40, 30), "red").save(tmp_path / "data" / "images" / "1.png")
    Image.fromarray(np.ones((30, 40), np.uint8)).save(tmp_path / "data" / "labels" / "1.png")
    log = tmp_path / "log.json"
    result = call(
        *["eval", "segmentation", "--data", tmp_path / "data", *model, *_BUDGET],
        *["--crops", 12, "--json", log],
    )
    assert result.exit_code == 0, result.output
    protocol = json.loads(log.read_text())["protocol"]
    assert protocol["mode"] == "HighRes"
    assert (protocol["crops"], protocol["seed"], protocol["crop_size"]) == (12, 0, 32)
    assert protocol["visits"] > 1
