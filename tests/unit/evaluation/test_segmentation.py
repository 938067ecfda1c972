import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dinotxt.errors import ConfigError, DataError
from dinotxt.evaluation import evaluate
from dinotxt.inference.encoder import Encoder
from dinotxt.inference.segmenter import SlidingWindow
from dinotxt.results.skip import Skip

MakeMasks = Callable[..., Path]


def test_iou_is_that_of_the_whole_data_set(colour_encoder: Encoder, make_masks: MakeMasks) -> None:
    report = evaluate(colour_encoder, task="segmentation", data=make_masks())
    iou = report.metrics["iou"]
    assert isinstance(iou, Mapping)
    assert report.n == 3
    assert iou["red"] > 0.9
    assert np.isnan(iou["blue"])
    assert report.metrics["miou"] == pytest.approx((iou["red"] + iou["green"]) / 2)
    assert report.protocol["absent_classes"] == ["blue"]
    assert report.protocol["mode"] == "Whole"
    assert report.protocol["size"] == 32
    json.dumps(report.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"mode": "window", "size": 16}, {"mode": "SlidingWindow", "size": 16, "stride": 8}),
        ({"mode": "window", "size": 16, "stride": 4}, {"size": 16, "stride": 4}),
        ({"mode": SlidingWindow(24, 8)}, {"mode": "SlidingWindow", "size": 24, "stride": 8}),
        ({"protocol": "tcl"}, {"size": 448, "stride": 224, "templates": "tcl-9"}),
        ({"mode": "whole", "size": 16}, {"mode": "Whole", "size": 16}),
    ],
)
def test_modes_are_used_and_stated(
    colour_encoder: Encoder,
    make_masks: MakeMasks,
    options: dict[str, Any],
    expected: dict[str, Any],
) -> None:
    report = evaluate(colour_encoder, task="segmentation", data=make_masks(1), **options)
    assert expected.items() <= dict(report.protocol).items()
    miou = report.metrics["miou"]
    assert isinstance(miou, float)
    assert miou > 0.8


def test_scores_are_refined_where_that_is_asked_for(
    colour_encoder: Encoder, make_masks: MakeMasks
) -> None:
    data = make_masks(1)
    half = np.arange(64) >= 27  # in the middle of a patch
    colours = np.where(half[:, None], (0, 255, 0), (255, 0, 0)).astype(np.uint8)
    Image.fromarray(np.tile(colours, (32, 1, 1))).save(data / "images" / "0.png")
    Image.fromarray(np.tile(half.astype(np.uint8), (32, 1))).save(data / "labels" / "0.png")
    plain = evaluate(colour_encoder, task="segmentation", data=data, size=16)
    refined = evaluate(colour_encoder, task="segmentation", data=data, size=16, refine="pamr")
    assert (plain.protocol["refine"], refined.protocol["refine"]) == (None, "pamr")
    assert plain.metrics["miou"] == pytest.approx(0.938, abs=0.001)
    assert refined.metrics["miou"] == 1
    with pytest.raises(ConfigError, match=r"refine: .*'pamr'"):
        evaluate(colour_encoder, task="segmentation", data=data, refine="crf")


def test_given_class_names_replace_those_of_the_data(
    colour_encoder: Encoder, make_masks: MakeMasks
) -> None:
    report = evaluate(
        colour_encoder,
        task="segmentation",
        data=make_masks(1, "scarlet\nlime\nnavy\n"),
        classes=["scarlet | red", "green", "blue"],
    )
    iou = report.metrics["iou"]
    assert isinstance(iou, Mapping)
    assert list(iou) == ["scarlet | red", "green", "blue"]
    assert iou["scarlet | red"] > 0.9


def test_a_mask_of_another_size_is_named_and_left_out(
    colour_encoder: Encoder, make_masks: MakeMasks
) -> None:
    root = make_masks()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(root / "labels" / "1.png")
    (root / "images" / "2.png").write_bytes(b"broken")
    skipped: list[Skip] = []
    report = evaluate(colour_encoder, task="segmentation", data=root, on_skip=skipped.append)
    assert report.n == 1
    assert [Path(skip.path).name for skip in skipped] == ["1.png", "2.png"]
    with pytest.raises(DataError, match=r"1\.png"):
        evaluate(colour_encoder, task="segmentation", data=root)


def test_every_takes_each_nth_picture_of_the_sorted_list(
    colour_encoder: Encoder, make_masks: MakeMasks
) -> None:
    root = make_masks(7)
    assert evaluate(colour_encoder, task="segmentation", data=root, every=3).n == 3
    assert evaluate(colour_encoder, task="segmentation", data=root, every=3, limit=1).n == 1


def test_a_high_background_threshold_leaves_pixels_unlabelled(
    colour_encoder: Encoder, make_masks: MakeMasks
) -> None:
    report = evaluate(colour_encoder, task="segmentation", data=make_masks(1), background=1.0)
    accuracy = report.metrics["pixel_accuracy"]
    assert isinstance(accuracy, float)
    assert accuracy < 0.5


@pytest.mark.parametrize("option", ["mode", "protocol", "background"])
def test_options_of_segmentation_are_refused_elsewhere(
    colour_encoder: Encoder, make_masks: MakeMasks, option: str
) -> None:
    values: dict[str, Any] = {"mode": "whole", "protocol": "tcl", "background": 0.1}
    with pytest.raises(ConfigError, match=f"{option} is an option of segmentation"):
        evaluate(
            colour_encoder,
            task="classification",
            data=make_masks(1),
            **{option: values[option]},
        )


def test_an_unknown_task_is_refused(colour_encoder: Encoder) -> None:
    task: Any = "detection"
    with pytest.raises(ConfigError, match="classification, retrieval, segmentation"):
        evaluate(colour_encoder, task=task, data="x")


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """A set with VOC's layout: aeroplane (1) is red here, bicycle (2) green, background blue."""
    base = tmp_path / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (base / folder).mkdir(parents=True)
    picture = Image.new("RGB", (48, 32), (0, 0, 255))
    picture.paste((255, 0, 0), (0, 0, 16, 32))
    picture.save(base / "JPEGImages" / "1.jpg", quality=95)
    values = np.zeros((32, 48), np.uint8)
    values[:, :16] = 1
    values[:, 15:17] = 255
    Image.fromarray(values).save(base / "SegmentationClass" / "1.png")
    (base / "ImageSets" / "Segmentation" / "val.txt").write_text("1\n")
    return tmp_path


def test_the_background_is_what_no_name_fits(colour_encoder: Encoder, voc: Path) -> None:
    data = f"voc21:{voc}"
    with pytest.raises(ConfigError, match="give --background T"):
        evaluate(colour_encoder, task="segmentation", data=data)
    named = replace(colour_encoder, tokenizer=_named(colour_encoder, aeroplane="red"))
    report = evaluate(named, task="segmentation", data=data, background=0.8)
    iou = report.metrics["iou"]
    assert isinstance(iou, Mapping)
    assert len(iou) == 21
    assert iou["background"] > 0.8
    assert iou["aeroplane"] > 0.8
    assert "bicycle" in report.protocol["absent_classes"]
    assert report.protocol["dataset"] == "voc21"


def test_a_published_set_has_the_papers_figures_beside_it(
    colour_encoder: Encoder, voc: Path
) -> None:
    named = replace(colour_encoder, tokenizer=_named(colour_encoder, aeroplane="red"))
    report = evaluate(named, task="segmentation", data=f"voc20:{voc}", classes="words")
    assert report.n == 1
    assert report.protocol["classes"] == "words"
    assert "tv monitor" in report.protocol["absent_classes"]
    assert {one.metric for one in report.published} == {"miou"}
    assert "colours (measured here)" in report.to_markdown()


def _named(encoder: Encoder, **meanings: str) -> Any:
    """Return a tokenizer that reads some words as others."""

    def read(texts: list[str]) -> Any:
        for word, meaning in meanings.items():
            texts = [text.replace(word, meaning) for text in texts]
        return tokenizer(texts)

    tokenizer = encoder.tokenizer
    return read


def test_masks_without_a_counted_pixel_are_counted_as_empty(
    colour_encoder: Encoder, make_masks: MakeMasks
) -> None:
    root = make_masks(2)
    Image.fromarray(np.full((32, 64), 255, np.uint8)).save(root / "labels" / "0.png")
    report = evaluate(colour_encoder, task="segmentation", data=root)
    assert report.n == 2
    assert report.protocol["empty_masks"] == 1


def test_a_mask_in_colours_is_named_and_left_out(
    colour_encoder: Encoder, make_masks: MakeMasks
) -> None:
    root = make_masks(2)
    Image.new("RGB", (64, 32)).save(root / "labels" / "0.png")
    skipped: list[Skip] = []
    report = evaluate(colour_encoder, task="segmentation", data=root, on_skip=skipped.append)
    assert report.n == 1
    assert "not its colour" in skipped[0].reason


def test_tcl_takes_the_names_of_mmsegmentation(colour_encoder: Encoder, tmp_path: Path) -> None:
    for kind, ending in (("images", "jpg"), ("annotations", "png")):
        path = tmp_path / kind / "validation" / f"a.{ending}"
        path.parent.mkdir(parents=True)
        Image.new("RGB" if kind == "images" else "L", (32, 32), 3 if ending == "png" else 0).save(
            path
        )
    report = evaluate(colour_encoder, task="segmentation", data=tmp_path, protocol="tcl")
    iou = report.metrics["iou"]
    assert isinstance(iou, Mapping)
    assert "television receiver" in iou
    assert report.protocol["classes"] == "mmseg"
    assert report.protocol["mode"] == "TclWindows"
