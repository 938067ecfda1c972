"""``dinotxt segment`` with its figures, on videos, and with a model of open_clip."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
from PIL import Image
from tests.integration.verbs import answer, call
from typer.testing import Result

NAME = "dinotxt-test-segment"


def _results(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    results: list[dict[str, Any]] = answer(result)["results"]
    return results


@pytest.fixture
def segment(tiny_model: Path, tmp_path: Path) -> list[object]:
    options = ["--labels", "road,tree", "--templates", "{}", "--json", "-"]
    model = ["--model", tiny_model, "--device", "cpu", "--out", tmp_path / "out"]
    return ["segment", *options, *model]


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> str:
    vision = {"layers": 1, "width": 16, "head_width": 8, "patch_size": 8, "image_size": 32}
    text = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    path = tmp_path_factory.mktemp("configs") / f"{NAME}.json"
    path.write_text(json.dumps({"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}))
    open_clip.add_model_config(path)
    return f"openclip:{NAME}/random"


def test_the_frames_of_videos_keep_their_order_and_their_folders(
    segment: list[object], tmp_path: Path
) -> None:
    for clip in ("a", "b"):
        (tmp_path / "clips" / clip).mkdir(parents=True)
        for number in (1, 2, 10):
            Image.new("RGB", (24, 20)).save(tmp_path / "clips" / clip / f"{number}.png")
    results = _results(call(*segment, tmp_path / "clips"))
    names = [Path(one["label_map"]).relative_to(tmp_path / "out").as_posix() for one in results]
    assert names == [f"{clip}/{n}_labels.png" for clip in ("a", "b") for n in (1, 2, 10)]
    assert [Path(one["image"]).stem for one in results] == ["1", "2", "10", "1", "2", "10"]


def test_figures_a_palette_and_a_second_model_are_drawn(
    segment: list[object], pictures: dict[str, Path], foreign: str
) -> None:
    more = ["--mode", "highres", "--crops", "6", "--size", "16", "--refine", "pamr", "--soft"]
    figures = ["--figure", "pca,clusters", "--palette", "cityscapes", "--compare", foreign]
    (only,) = _results(call(*segment, pictures["half"], *more, *figures))
    for key in ("pca", "clusters", "compare"):
        with Image.open(only[key]) as figure:
            assert figure.width > 2 * 48
    assert set(only["soft"]) == set(only["scores"]) == {"road", "tree"}
    assert all(0 <= score <= 1 for score in only["scores"].values())
    with Image.open(only["label_map"]) as label_map:
        colours = np.unique(np.asarray(label_map.convert("RGB")).reshape(-1, 3), axis=0)
    assert {tuple(colour) for colour in colours} <= {(128, 64, 128), (244, 35, 232)}


@pytest.mark.parametrize("embedding", ["patch", "cls_patch", "value", "value_patch"])
def test_every_embedding_labels_all_pixels(
    segment: list[object], pictures: dict[str, Path], embedding: str
) -> None:
    options = ["--embedding", embedding, "--value-text", "patch"]
    (only,) = _results(call(*segment, pictures["half"], *options))
    assert sum(only["areas"].values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--figure", "clusters"], "--mode highres"),
        (["--figure", "depth"], "give pca or clusters"),
        (["--palette", "nothing"], "choose from ade20k"),
        (["--model", "openclip:ViT-B-32/nothing"], "no weights of it"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    segment: list[object], pictures: dict[str, Path], options: list[str], message: str
) -> None:
    result = call(*segment, pictures["half"], *options)
    assert result.exit_code == 1
    assert message in " ".join(result.stderr.split())


def test_a_model_of_open_clip_classifies_indexes_and_searches(
    pictures: dict[str, Path], tmp_path: Path, foreign: str
) -> None:
    device = ["--device", "cpu", "--json", "-"]
    options = ["--labels", "red,blue", "--templates", "{}", "--model", foreign]
    (only,) = _results(call("classify", pictures["red"], *options, *device))
    assert sum(label["probability"] for label in only["labels"]) == pytest.approx(1)
    folder, index = pictures["red"].parent, tmp_path / "index"
    built = call("index", folder, "--out", index, "--model", foreign, *device)
    assert built.exit_code == 0, built.output
    found = call("search", index, "a red square", "-k", "2", *device)
    assert found.exit_code == 0, found.output
    assert len(json.loads(found.stdout)["hits"]) == 2
