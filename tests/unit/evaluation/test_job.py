from pathlib import Path
from typing import Any

import pytest

from dinotxt import SlidingWindow
from dinotxt.errors import ConfigError
from dinotxt.evaluation.datasets.masks import layouts
from dinotxt.evaluation.job import Options, published


def test_every_and_limit_take_from_the_sorted_list() -> None:
    items = list(range(20))
    assert Options().take(items) == items
    assert Options(every=6).take(items) == [0, 6, 12, 18]
    assert Options(every=6, limit=2).take(items) == [0, 6]
    assert Options(limit=50).take(items) == items


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"every": 0}, "every: .*greater than 0"),
        ({"limit": 0}, "limit: .*greater than 0"),
        ({"size": -1}, "size: .*greater than 0"),
        ({"trim_border": -1}, "trim_border: .*greater than or equal to 0"),
        ({"protocol": "mine"}, "protocol: .*'tcl' or 'dinov3'"),
        ({"protocol": "tcl", "mode": "whole"}, "leave mode out"),
        ({"protocol": "dinov3", "mode": "highres"}, "leave mode out"),
        ({"protocol": "dinov3", "stride": 10}, "leave them out"),
        ({"protocol": "tcl", "size": 224}, "leave them out"),
        ({"template": "simple"}, "template: unknown key; did you mean `templates`"),
        ({"xyz": 1}, "xyz: unknown key; known keys: background, batch_size"),
    ],
)
def test_options_that_make_no_sense_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Options(**given)


@pytest.mark.parametrize("classes", ["imagenet", Path("names.txt"), ["cat", "dog"], ("cat", "dog")])
def test_class_names_stay_what_was_given(classes: Any) -> None:
    assert Options(classes=classes).classes == classes
    assert type(Options(classes=classes).classes) is type(classes)


def test_a_mode_stays_the_object_that_was_given() -> None:
    mode = SlidingWindow(64, 32)
    assert Options(mode=mode).mode is mode


@pytest.mark.parametrize(
    ("dataset", "model", "metric", "value"),
    [
        ("imagenet", "dino.txt ViT-L, 224", "top1", 0.814),
        ("inaturalist2021", "DFN ViT-L, 224", "top1", 0.176),
        ("flickr30k", "SigLIP ViT-L, 384", "text_to_image_recall@1", 0.819),
        ("ade20k", "dino.txt L/14, high resolution", "miou", 0.251),
        ("context59", "TCL B/16", "miou", 0.303),
    ],
)
def test_the_figures_are_those_of_the_paper(
    dataset: str, model: str, metric: str, value: float
) -> None:
    found = {(one.model, one.metric): one.value for one in published(dataset)}
    assert found[model, metric] == pytest.approx(value)


def test_both_test_sets_of_coco_have_the_papers_column() -> None:
    assert published("coco-val2017") == published("coco-karpathy") != ()


def test_what_the_paper_leaves_out_has_no_figure() -> None:
    assert not [one for one in published("objectnet") if one.model.startswith("OpenCLIP")]
    assert published("camvid") == published(None) == ()


def test_every_set_of_table_6_has_a_layout() -> None:
    assert all(
        published(name)
        for name in layouts()
        if name not in {"camvid", "voc21", "context60", "cocoobject"}
    )
