"""The verbs classify and segment on a tiny random model and generated pictures."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.integration.verbs import answer, call


@pytest.fixture
def folder(pictures: dict[str, Path]) -> Path:
    return pictures["red"].parent


@pytest.fixture
def model(tiny_model: Path) -> list[object]:
    return ["--model", tiny_model, "--device", "cpu", "--templates", "simple"]


def test_classify_writes_json_of_the_contract(
    model: list[object], pictures: dict[str, Path]
) -> None:
    result = call(
        "classify",
        pictures["red"],
        "--labels",
        "cat, dog",
        "--labels",
        "red panda",
        *model,
        "--json",
        "-",
    )
    assert result.exit_code == 0, result.output
    content = answer(result)
    assert list(content) == ["task", "version", "seconds", "results", "skipped"]
    assert content["task"] == "classify"
    assert content["skipped"] == []
    (only,) = content["results"]
    assert only["image"] == str(pictures["red"])
    assert {label["label"] for label in only["labels"]} == {"cat", "dog", "red panda"}
    probabilities = [label["probability"] for label in only["labels"]]
    assert sum(probabilities) == pytest.approx(1)
    assert probabilities == sorted(probabilities, reverse=True)
    assert all(-1 <= label["similarity"] <= 1 for label in only["labels"])


def test_classify_takes_files_folders_and_patterns_and_shows_a_table(
    model: list[object], folder: Path
) -> None:
    result = call(
        "classify", folder, folder / "*.png", folder / "red.png", "--labels", "a,b", *model
    )
    assert result.exit_code == 0, result.output
    assert "probability" in result.stdout
    assert result.stdout.count("%") == 2 * 4  # two labels for each of four pictures


def test_a_missing_file_among_many_is_reported_and_the_others_done(
    model: list[object], pictures: dict[str, Path], folder: Path
) -> None:
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    result = call("classify", folder, "missing.jpg", "--labels", "a,b", *model, "--json", "-")
    assert result.exit_code == 3, result.output
    content = answer(result)
    assert len(content["results"]) == len(pictures)
    assert {Path(skip["path"]).name for skip in content["skipped"]} == {"broken.jpg", "missing.jpg"}
    assert all(skip["reason"] for skip in content["skipped"])


def test_only_bad_pictures_is_a_failure(model: list[object], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    arguments = [tmp_path / "empty", "missing.jpg", tmp_path / "*.gif"]
    result = call("classify", *arguments, "--labels", "a,b", *model, "--json", "-")
    assert result.exit_code == 1
    reasons = [skip["reason"] for skip in answer(result)["skipped"]]
    assert reasons == ["the folder holds no pictures", "does not exist", "no picture matches"]


def test_an_input_below_two_patches_is_refused(
    model: list[object], pictures: dict[str, Path], tmp_path: Path
) -> None:
    given = [pictures["red"], "--labels", "a,b", *model, "--size", "7"]
    for verb in (["classify"], ["segment", "--out", tmp_path]):
        result = call(*verb, *given)
        assert result.exit_code == 1
        assert "size is 7, less than two of the model's patches" in result.stderr


def test_an_empty_label_is_refused_before_a_model_is_loaded(pictures: dict[str, Path]) -> None:
    result = call("classify", pictures["red"], "--labels", "a,,b", "--model", "no-such-model")
    assert result.exit_code == 1
    assert "The label '' is empty" in result.stderr


def test_csv_has_a_row_a_label(
    model: list[object], pictures: dict[str, Path], tmp_path: Path
) -> None:
    labels_file = tmp_path / "labels.txt"
    labels_file.write_text("cat | kitty\ndog, small\nfox\n")
    result = call(
        "classify",
        pictures["red"],
        "--labels-file",
        labels_file,
        "--csv",
        tmp_path / "out.csv",
        "-k",
        "2",
        *model,
    )
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert len(rows) == 2
    assert {row["label"] for row in rows} <= {"cat | kitty", "dog, small", "fox"}
    assert float(rows[0]["probability"]) >= float(rows[1]["probability"])


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--labels", "cat,,dog"], 1, "empty"),
        ([], 2, "--labels"),
        (["--labels", "a", "--device", "tpu"], 1, "give auto"),
        (["--labels", "a", "--templates", "nothing here"], 1, "nothing here"),
        (["--labels", "a", "--model", "no-such"], 1, "no-such"),
        (["--labels", "a", "--csv", "/dev/null/out.csv"], 1, "choose another --csv"),
    ],
)
def test_wrong_usage_has_a_clear_message(
    model: list[object],
    pictures: dict[str, Path],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    result = call("classify", pictures["red"], *model, *arguments)
    assert result.exit_code == code
    assert message in result.output


def test_segment_writes_label_maps_and_overlays(
    model: list[object], folder: Path, tmp_path: Path
) -> None:
    (folder / "more").mkdir()
    Image.new("RGB", (30, 50)).save(folder / "more" / "RED.png")
    out = tmp_path / "out"
    result = call("segment", folder, "--labels", "sky,tree", "--out", out, *model, "--json", "-")
    assert result.exit_code == 0, result.output
    results = answer(result)["results"]
    assert len(results) == 5
    assert len({one["label_map"] for one in results}) == 5
    for one in results:
        assert set(one) == {"image", "size", "label_map", "overlay", "areas"}
        assert sum(one["areas"].values()) == pytest.approx(1)
        with Image.open(one["label_map"]) as label_map, Image.open(one["image"]) as picture:
            assert list(label_map.size) == one["size"] == list(picture.size)
            assert np.asarray(label_map).max() <= 1
        with Image.open(one["overlay"]) as overlay:
            assert overlay.height > one["size"][1]


@pytest.mark.parametrize("upsample", ["logits", "features"])
def test_segment_in_windows_with_a_threshold_and_soft_masks(
    model: list[object], pictures: dict[str, Path], tmp_path: Path, upsample: str
) -> None:
    result = call(
        "segment",
        pictures["half"],
        "--labels",
        "sky,a/b tree",
        "--out",
        tmp_path / "out",
        "--mode",
        "window",
        "--size",
        "32",
        "--background",
        "0.9",
        "--upsample",
        upsample,
        "--soft",
        *model,
        "--json",
        "-",
    )
    assert result.exit_code == 0, result.output
    (only,) = answer(result)["results"]
    with Image.open(only["label_map"]) as label_map:
        assert (np.asarray(label_map) == 255).all()
    assert only["areas"] == {"sky": 0, "a/b tree": 0}
    assert len(only["soft"]) == 2
    with Image.open(only["soft"]["a/b tree"]) as soft:
        assert soft.size == (48, 40)


@pytest.mark.parametrize("option", [["--mode", "x"], ["--upsample", "x"]])
def test_segment_refuses_unknown_choices_as_wrong_usage(
    model: list[object], pictures: dict[str, Path], tmp_path: Path, option: list[str]
) -> None:
    arguments = ["segment", pictures["red"], "--labels", "a", "--out", tmp_path]
    assert call(*arguments, *option, *model).exit_code == 2


def test_segment_says_when_its_folder_cannot_be_written(
    model: list[object], pictures: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    arguments = ["segment", pictures["red"], "--labels", "a,b", "--out", tmp_path / "file"]
    result = call(*arguments, *model)
    assert result.exit_code == 1
    assert "choose another --out" in result.output


@pytest.mark.filterwarnings("default::UserWarning")
def test_results_beside_their_pictures_are_no_pictures(model: list[object], folder: Path) -> None:
    arguments = (folder, "--labels", "cat, dog", "--out", folder, *model, "--json", "-")
    first = answer(call("segment", *arguments))["results"]
    for _ in range(2):
        again = call("segment", *arguments)
        assert again.exit_code == 0, again.output
        assert answer(again)["results"] == first
        assert "holds what dinotxt segment wrote: that is left out" in again.stderr
    assert len(list(folder.glob("*_overlay.png"))) == len(first)
