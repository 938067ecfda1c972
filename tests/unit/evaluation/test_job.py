from typing import Any

import pytest

from dinotxt.errors import ConfigError
from dinotxt.evaluation.datasets.masks import layouts
from dinotxt.evaluation.job import Options, parse_options, published


def test_every_and_limit_take_from_the_sorted_list() -> None:
    items = list(range(20))
    assert Options().take(items) == items
    assert Options(every=6).take(items) == [0, 6, 12, 18]
    assert Options(every=6, limit=2).take(items) == [0, 6]
    assert Options(limit=50).take(items) == items


@pytest.mark.parametrize(
    "given",
    [
        {"every": 0},
        {"limit": 0},
        {"size": -1},
        {"protocol": "mine"},
        {"protocol": "tcl", "mode": "whole"},
        {"protocol": "dinov3", "mode": "highres"},
        {"protocol": "dinov3", "stride": 10},
        {"trim_border": -1},
        {"protocol": "tcl", "size": 224},
    ],
)
def test_options_that_make_no_sense_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"give|leave"):
        parse_options(given)


def test_a_misspelt_option_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="'template': did you mean templates"):
        parse_options({"template": "simple"})
    with pytest.raises(ConfigError, match="'xyz': there are classes, templates"):
        parse_options({"xyz": 1})


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
