import pytest

from dinotxt.evaluation.datasets.layout import layouts
from dinotxt.evaluation.published import published


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
