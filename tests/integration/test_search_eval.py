"""``dinotxt index``, ``search`` and ``eval`` on a tiny random model."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

RunVerb = Callable[..., tuple[int, dict[str, Any], str]]


def paint(path: Path, seed: int, size: tuple[int, int] = (24, 20)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def album(tmp_path: Path) -> Path:
    for number in range(6):
        paint(tmp_path / "album" / f"{number % 2}" / f"{number}.png", number)
    return tmp_path / "album"


def test_index_and_search_find_a_picture_by_itself(
    album: Path, tiny_model: Path, tmp_path: Path, run: RunVerb
) -> None:
    out = tmp_path / "album.index"
    code, result, _ = run("index", album, "--out", out, "--model", tiny_model)
    assert code == 0
    assert {key: result[key] for key in ("index", "n", "added", "changed", "deleted")} == {
        "index": str(out),
        "n": 6,
        "added": 6,
        "changed": 0,
        "deleted": 0,
    }
    assert {"task", "version", "seconds", "skipped"} <= result.keys()
    common = ("--batch-size", 1, "--num-workers", 0, "--device", "cpu")
    code, result, _ = run("search", out, "--image", album / "0" / "4.png", "-k", 2, *common)
    assert code == 0
    assert result["task"] == "search"
    assert result["hits"][0]["path"] == str(album / "0" / "4.png")
    assert result["hits"][0]["score"] == pytest.approx(1, abs=1e-4)
    assert len(result["hits"]) == 2


def test_folders_whose_names_are_not_utf8_are_indexed_and_searched(
    album: Path, tiny_model: Path, tmp_path: Path, run: RunVerb
) -> None:
    folder = tmp_path / os.fsdecode(b"album\xff")
    shutil.copytree(album, folder)
    index = tmp_path / os.fsdecode(b"index\xfe")
    for added in (6, 0):
        code, result, _ = run("index", folder, "--out", index, "--model", tiny_model)
        assert (code, result["added"]) == (0, added)
    code, result, _ = run("search", index, "a red bicycle", "--sheet", tmp_path / "s.html")
    assert code == 0
    assert r"album\xff" in result["hits"][0]["path"]
    assert r"index\xfe" in (tmp_path / "s.html").read_text()


def test_search_by_words_takes_the_model_from_the_index(
    album: Path, tiny_model: Path, tmp_path: Path, run: RunVerb
) -> None:
    run("index", album, "--out", tmp_path / "index", "--model", tiny_model)
    code, result, _ = run("search", tmp_path / "index", "a red bicycle")
    assert code == 0
    scores = [hit["score"] for hit in result["hits"]]
    assert len(scores) == 5
    assert scores == sorted(scores, reverse=True)
    code, _, errors = run("search", tmp_path / "index", " ")
    assert code == 1
    assert "The words to search for are empty" in errors


def test_filters_and_a_contact_sheet(
    album: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: RunVerb
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    out = tmp_path / "index"
    _, made, _ = run("index", album, "--out", out, "--model", tiny_model, "--thumbnails")
    assert made["engine"] == "exact"
    code, result, _ = run("search", out, "red", "--folder", "1", "--sheet", tmp_path / "s.html")
    assert code == 0
    assert {Path(hit["path"]).parent.name for hit in result["hits"]} == {"1"}
    assert (result["n"], result["engine"]) == (6, "exact")
    assert (tmp_path / "s.html").read_text("utf-8").count("data:image/jpeg;base64,") == 3
    assert opened == []
    _, result, _ = run("search", out, "red", "--open", "--until", "1990")
    assert result["hits"] == []
    assert opened == [Path(result["sheet"]).as_uri()]
    code, _, errors = run("search", out, "red", "--folder", "2")
    assert code == 1
    assert "has no pictures in 2" in errors


def test_an_update_counts_and_a_broken_picture_exits_3(
    album: Path, tiny_model: Path, tmp_path: Path, run: RunVerb
) -> None:
    run("index", album, "--out", tmp_path / "index", "--model", tiny_model)
    (album / "0" / "0.png").unlink()
    paint(album / "1" / "1.png", 99)
    paint(album / "new.png", 7)
    (album / "broken.jpg").write_bytes(b"broken")
    code, result, errors = run("index", album, "--out", tmp_path / "index")
    assert code == 3
    assert (result["n"], result["added"], result["changed"], result["deleted"]) == (6, 1, 1, 1)
    assert [Path(skip["path"]).name for skip in result["skipped"]] == ["broken.jpg"]
    assert "broken.jpg" in errors


def test_what_cannot_be_indexed_or_searched_exits_1(
    tiny_model: Path, tmp_path: Path, run: RunVerb
) -> None:
    (tmp_path / "empty").mkdir()
    code, _, errors = run(
        "index", tmp_path / "empty", "--out", tmp_path / "index", "--model", tiny_model
    )
    assert code == 1
    assert "holds no pictures" in errors
    code, _, errors = run("search", tmp_path / "nothing", "words", "--model", tiny_model)
    assert code == 1
    assert "is not an index" in errors


def test_wrong_usage_exits_2(tmp_path: Path, run: RunVerb) -> None:
    assert run("search", tmp_path)[0] == 2
    assert run("search", tmp_path, "words", "--image", "a.jpg")[0] == 2
    assert run("index", tmp_path)[0] == 2
    assert run("eval", "retrieval")[0] == 2


def check_report(result: dict[str, Any], metrics: set[str]) -> None:
    expected = {"task", "version", "seconds", "skipped", "model", "data", "n", "metrics"}
    assert expected | {"protocol", "ci"} <= result.keys()
    assert set(result["metrics"]) == metrics
    for name, value in result["metrics"].items():
        if name != "iou":
            assert 0 <= value <= 1


def test_eval_classification_reports(tiny_model: Path, tmp_path: Path, run: RunVerb) -> None:
    for number in range(6):
        paint(tmp_path / "set" / ("cat", "dog")[number % 2] / f"{number}.png", number)
    arguments = ("eval", "classification", "--data", tmp_path / "set", "--model", tiny_model)
    code, result, _ = run(*arguments, "--templates", "a {}", "--every", 2)
    assert code == 0
    check_report(result, {"top1", "top5"})
    assert result["n"] == 3
    assert result["task"] == "classification"
    (tmp_path / "set" / "cat" / "bad.png").write_bytes(b"bad")
    code, result, _ = run(*arguments, "--templates", "a {}")
    assert code == 3
    assert result["n"] == 6
    assert result["skipped"][0]["path"].endswith("bad.png")


def test_eval_retrieval_reports(tiny_model: Path, tmp_path: Path, run: RunVerb) -> None:
    for number in range(4):
        paint(tmp_path / "pairs" / f"{number}.png", number)
        (tmp_path / "pairs" / f"{number}.txt").write_text(f"picture {number}")
    code, result, _ = run(
        "eval", "retrieval", "--data", tmp_path / "pairs", "--model", tiny_model, "--limit", 3
    )
    assert code == 0
    ways = ("text_to_image", "image_to_text")
    check_report(result, {f"{way}_recall@{k}" for way in ways for k in (1, 5, 10)})
    assert result["n"] == 3
    assert result["metrics"]["text_to_image_recall@5"] == 1


@pytest.mark.parametrize("mode", [(), ("--mode", "window", "--size", 32, "--stride", 16)])
def test_eval_segmentation_reports(
    tiny_model: Path, tmp_path: Path, mode: tuple[object, ...], run: RunVerb
) -> None:
    root = tmp_path / "masks"
    (root / "labels").mkdir(parents=True)
    (root / "classes.txt").write_text("sky\nroad\n")
    for number in range(2):
        paint(root / "images" / f"{number}.png", number, (40, 36))
        labels = np.zeros((36, 40), np.uint8)
        labels[18:] = 1
        Image.fromarray(labels).save(root / "labels" / f"{number}.png")
    code, result, _ = run(
        "eval", "segmentation", "--data", root, "--model", tiny_model, "--templates", "{}", *mode
    )
    assert code == 0
    check_report(result, {"miou", "pixel_accuracy", "iou"})
    assert set(result["metrics"]["iou"]) == {"sky", "road"}
    assert result["protocol"]["mode"] == ("SlidingWindow" if mode else "Whole")


def test_an_empty_set_exits_1(tiny_model: Path, tmp_path: Path, run: RunVerb) -> None:
    (tmp_path / "set").mkdir()
    for task in ("classification", "retrieval", "segmentation"):
        code, _, errors = run("eval", task, "--data", tmp_path / "set", "--model", tiny_model)
        assert code == 1
        assert "error:" in errors


def test_a_report_calls_the_model_what_the_user_did(
    tiny_model: Path, tmp_path: Path, run: RunVerb
) -> None:
    for number, name in enumerate(("cat", "dog")):
        paint(tmp_path / "set" / name / "1.png", number)
    arguments = ("--data", tmp_path / "set", "--model", tiny_model, "--templates", "{}")
    _, result, _ = run("eval", "classification", *arguments)
    assert result["model"] == str(tiny_model)


def test_eval_text_measures_every_table_of_a_folder(
    tiny_model: Path, tmp_path: Path, run: RunVerb
) -> None:
    tables = tmp_path / "tables"
    tables.mkdir()
    rows = [("a dog", "a dog", 5), ("a dog", "a red car", 1), ("a cat", "a cat", 4)]
    lines = ["sentence1\tsentence2\tscore", *("\t".join(map(str, row)) for row in rows)]
    (tables / "similarity.tsv").write_text("\n".join(lines))
    code, result, shown = run("eval", "text", "--data", tables, "--model", tiny_model)
    assert code == 0, shown
    assert result["task"] == "text"
    assert result["n"] == 3
    assert -1 <= result["metrics"]["similarity"] <= 1
    assert set(result["metrics"]) == set(result["ci"]) == {"similarity"}
    (tables / "similarity.tsv").rename(tables / "other.tsv")
    code, _, shown = run("eval", "text", "--data", tables, "--model", tiny_model)
    assert code == 1
    assert "similarity*.tsv" in shown
