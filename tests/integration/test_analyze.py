"""The verb ``analyze`` on a tiny random model: JSON, files, drawings and errors."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.integration.verbs import call
from typer.testing import Result

_LEMMAS = {"thing": 1, "road": 2, "street": 3}


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Path]:
    """Two sets of two pictures with label maps of roads and streets."""
    sets = {}
    for name in ("train", "val"):
        root = sets[name] = tmp_path / name
        for folder in ("images", "labels"):
            (root / folder).mkdir(parents=True)
        (root / "classes.txt").write_text("road\nstreet\n")
        for number in range(2):
            noise = np.random.default_rng(number).integers(0, 256, (30, 40, 3), dtype=np.uint8)
            Image.fromarray(noise).save(root / "images" / f"{number}.png")
            labels = np.tile(np.arange(40, dtype=np.uint8) // 20, (30, 1))
            Image.fromarray(labels).save(root / "labels" / f"{number}.png")
    return sets


@pytest.fixture
def wordnet(tmp_path: Path) -> Path:
    """A WordNet in which a street is a road."""
    folder = tmp_path / "dict"
    folder.mkdir()
    kinds = {"thing": "000", "road": "001 @ 00000001 n 0000", "street": "001 @ 00000002 n 0000"}
    synsets = [f"{_LEMMAS[w]:08d} 03 n 01 {w} 0 {p} | x\n" for w, p in kinds.items()]
    (folder / "data.noun").write_text("".join(synsets))
    index = [f"{w} n 1 1 @ 1 0 {number:08d}\n" for w, number in _LEMMAS.items()]
    (folder / "index.noun").write_text("".join(index))
    (folder / "noun.exc").write_text("")
    return folder


@pytest.fixture
def common(tiny_model: Path) -> list[object]:
    return ["--model", tiny_model, "--device", "cpu", "--templates", "simple", "--size", 32]


def _run(*arguments: object) -> Result:
    return call("analyze", *arguments)


def _json(result: Result, log: Path) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    content: dict[str, Any] = json.loads(log.read_text())
    return content


def test_boundaries_reports_the_topline(
    data: dict[str, Path], common: list[object], tmp_path: Path
) -> None:
    log, out = tmp_path / "log.json", tmp_path / "drawn"
    arguments = ["--data", data["val"], "--crops", 4, "--json", log, "--pictures", out]
    content = _json(_run("boundaries", *arguments, *common, "--num-workers", 0), log)
    ahead = _json(_run("boundaries", *arguments, *common, "--num-workers", 2), log)
    assert ahead["metrics"] == content["metrics"]
    assert content["task"] == "analyze boundaries"
    assert {"miou", "topline_miou"} <= content["metrics"].keys()
    assert content["protocol"]["crops"] == 4
    assert len(list(out.glob("*.png"))) == len(content["examples"])


def test_class_names_writes_a_file_that_eval_takes(
    data: dict[str, Path], common: list[object], tmp_path: Path
) -> None:
    log, out, words = tmp_path / "log.json", tmp_path / "names.txt", tmp_path / "words.txt"
    words.write_text("dog\ncat\nboat\n")
    arguments = ["--data", data["val"], "--search", data["train"], "--out", out, "--json", log]
    found = _run(
        *["class-names", *arguments, *common, "--mode", "whole"],
        *["--vocabulary", words, "--override", "street=alley"],
    )
    content = _json(found, log)
    metrics = content["metrics"]
    assert metrics["gain"] == pytest.approx(metrics["optimised_miou"] - metrics["original_miou"])
    names = out.read_text().splitlines()
    assert len(names) == 2
    assert names[1] == "alley"
    evaluated = ["eval", "segmentation", "--data", data["val"], "--classes", out, "--json", log]
    result = call(*evaluated, *common, "--mode", "whole")
    measured = _json(result, log)["metrics"]["miou"]
    assert measured == pytest.approx(metrics["optimised_miou"])


def test_embeddings_measures_the_four_of_table_8(
    data: dict[str, Path], common: list[object], tmp_path: Path
) -> None:
    log = tmp_path / "log.json"
    result = _run("embeddings", "--data", data["val"], *common, "--mode", "whole", "--json", log)
    content = _json(result, log)
    names = {"patch", "cls_patch", "value", "value_patch", "backbone"}
    assert set(content["metrics"]["miou"]) == names


def test_errors_prints_the_confusions_and_asks_wordnet(
    data: dict[str, Path], common: list[object], tmp_path: Path, wordnet: Path
) -> None:
    log, out = tmp_path / "log.json", tmp_path / "drawn"
    arguments = ["--data", data["val"], "--mode", "whole", "--json", log, "--pictures", out]
    result = _run("errors", *arguments, *common, "--wordnet", wordnet)
    content = _json(result, log)
    assert content["metrics"]["part_whole_share"] == 1  # a street is a road
    assert content["confusion"][0]["share_of_class"] > 0
    assert "share of class" in result.output
    assert Path(content["examples"][0]["file"]).is_file()
    missing = _run("errors", *arguments, *common, "--wordnet", tmp_path)
    assert missing.exit_code == 1
    assert "wordnet-base" in missing.output


def test_errors_without_wordnet_gives_the_rest_and_says_what_is_missing(
    data: dict[str, Path],
    common: list[object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dinotxt.text.wordnet.lexicon.DEBIAN", tmp_path / "absent")
    log = tmp_path / "log.json"
    arguments = ["--data", data["val"], "--mode", "whole", "--json", log]
    result = _run("errors", *arguments, *common)
    assert result.exit_code == 3
    content = json.loads(log.read_text())
    assert content["metrics"]["part_whole_share"] is None
    assert content["part_whole"]["shares"].keys() == {"close_second"}
    assert content["confusion"]
    assert "wordnet-base" in content["skipped"][0]["reason"]


@pytest.mark.parametrize("wrong", ["street", "=alley", "street="])
def test_an_override_that_is_none_is_refused(
    data: dict[str, Path], common: list[object], tmp_path: Path, wrong: str
) -> None:
    arguments = ["--data", data["val"], "--search", data["train"], "--out", tmp_path / "names"]
    result = _run("class-names", *arguments, *common, "--override", wrong)
    assert result.exit_code == 1
    assert "CLASS=NAME" in result.output
