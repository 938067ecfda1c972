from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from tests.unit.evaluation.datasets.conftest import (
    SIZE,
    ade20k,
    camvid,
    cityscapes,
    cityscapes_train_ids,
    cocoobject,
    cocoobject_converted,
    cocostuff,
    cocostuff_train_ids,
    context,
    lines,
    voc,
)

from dinotxt.errors import DataError
from dinotxt.evaluation.datasets import open_masks
from dinotxt.evaluation.datasets.masks import layouts
from dinotxt.results.skip import Skip

# name, replica, pictures, classes, first and last name, the label map's first columns
LAYOUTS = [
    ("ade20k", ade20k, 1, 150, "wall", "flag", [255, 0, 149]),
    ("cityscapes", cityscapes, 1, 19, "road", "bicycle", [255, 0, 18]),
    ("cityscapes", cityscapes_train_ids, 1, 19, "road", "bicycle", [255, 0, 18]),
    ("voc20", voc, 2, 20, "aeroplane", "tvmonitor", [255, 0, 19, 255]),
    ("voc21", voc, 2, 21, "background", "tvmonitor", [0, 1, 20, 255]),
    ("context59", context, 1, 59, "aeroplane", "wood", [255, 0, 58]),
    ("context60", context, 1, 60, "background", "wood", [0, 1, 59]),
    ("cocostuff", cocostuff, 1, 171, "person", "wood", [255, 0, 170]),
    ("cocostuff", cocostuff_train_ids, 1, 171, "person", "wood", [255, 0, 170]),
    ("cocoobject", cocoobject, 1, 81, "background", "toothbrush", [0, 1, 80, 0, 0]),
    ("cocoobject", cocoobject_converted, 1, 81, "background", "toothbrush", [0, 1, 80, 0, 0]),
    ("camvid", camvid, 1, 11, "sky", "bicyclist", [255, 0, 10]),
]


@pytest.mark.parametrize(("name", "replica", "num", "classes", "first", "last", "row"), LAYOUTS)
def test_an_official_layout_is_read_with_its_values_and_names(
    tmp_path: Path,
    name: str,
    replica: Callable[[Path], None],
    num: int,
    classes: int,
    first: str,
    last: str,
    row: list[int],
) -> None:
    replica(tmp_path)
    found = open_masks(f"{name}:{tmp_path}")
    assert found.name == name
    assert len(found.items) == num
    assert len(found.class_names) == classes
    assert (found.class_names[0], found.class_names[-1]) == (first, last)
    truth = found.truth(found.items[0], SIZE)
    assert truth[0, : len(row)].tolist() == row
    assert found.background == (first == "background")
    for names in found.variants.values():
        assert len(names) == classes


@pytest.mark.parametrize(
    ("name", "replica"),
    [
        ("ade20k", ade20k),
        ("cityscapes", cityscapes),
        ("voc20", voc),
        ("context59", context),
        ("cocostuff", cocostuff),
        ("camvid", camvid),
    ],
)
def test_a_layout_tells_its_set(tmp_path: Path, name: str, replica: Callable[[Path], None]) -> None:
    replica(tmp_path)
    assert open_masks(tmp_path).name == name


def test_another_split_is_chosen_by_its_name(tmp_path: Path) -> None:
    ade20k(tmp_path)
    assert open_masks(f"ade20k:{tmp_path}#train").items[0].key == "ADE_train_00000001"
    with pytest.raises(DataError, match="no split 'test': give val or train"):
        open_masks(f"ade20k:{tmp_path}#test")


@pytest.mark.parametrize(
    ("name", "replica", "folder", "named"),
    [
        ("ade20k", ade20k, "annotations/validation", "annotations/validation/"),
        ("cityscapes", cityscapes, "leftImg8bit", "leftImg8bit/val/"),
        ("voc21", voc, "VOCdevkit/VOC2012/ImageSets", "ImageSets/Segmentation/val.txt"),
        ("context59", context, "VOC2010/SegmentationClassContext", "SegmentationClassContext/"),
        ("cocostuff", cocostuff, "val2017", "images/val2017/ or val2017/"),
    ],
)
def test_what_is_missing_is_named_with_the_file_to_unpack(
    tmp_path: Path, name: str, replica: Callable[[Path], None], folder: str, named: str
) -> None:
    replica(tmp_path)
    (tmp_path / folder).rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=rf"it has no {named}[\s\S]*Unpack "):
        open_masks(f"{name}:{tmp_path}")


def test_an_empty_folder_lacks_everything(tmp_path: Path) -> None:
    message = r"it has no images/validation/, no annotations/validation/. Unpack ADEChallengeData"
    with pytest.raises(DataError, match=message):
        open_masks(f"ade20k:{tmp_path}")
    with pytest.raises(DataError, match="nor the layout of a published set"):
        open_masks(tmp_path)


def test_label_maps_of_another_kind_are_an_error_that_names_the_ending(tmp_path: Path) -> None:
    cityscapes(tmp_path)
    folder = tmp_path / "gtFine" / "val" / "frankfurt"
    for path in folder.iterdir():
        path.rename(path.with_name(path.name.replace("labelIds", "color")))
    with pytest.raises(DataError, match=r"no label map \*_gtFine_labelTrainIds\.png or \*_gtFine"):
        open_masks(f"cityscapes:{tmp_path}")


def test_a_picture_without_its_label_map_is_reported(tmp_path: Path) -> None:
    voc(tmp_path)
    base = tmp_path / "VOCdevkit" / "VOC2012"
    (base / "SegmentationClass" / "2007_000042.png").unlink()
    lines(base / "ImageSets" / "Segmentation" / "val.txt", "2007_000033", "2007_000042", "gone")
    skips: list[Skip] = []
    assert len(open_masks(tmp_path, on_skip=skips.append).items) == 1
    assert [skip.reason for skip in skips] == [
        "val.txt names it, but there is no such picture",
        "half a pair: it has no label map",
    ]
    with pytest.raises(DataError, match="no such picture"):
        open_masks(tmp_path)


def test_a_value_that_the_set_does_not_have_is_an_error(tmp_path: Path) -> None:
    ade20k(tmp_path)
    path = tmp_path / "annotations" / "validation" / "ADE_valid_00000001.png"
    Image.new("L", SIZE, 151).save(path)
    found = open_masks(tmp_path)
    with pytest.raises(
        DataError, match=r"has the value 151: values go from 1 to 150 .*ignored: 0, 255"
    ):
        found.truth(found.items[0])
    Image.new("RGB", SIZE).save(path)
    with pytest.raises(DataError, match="the number of each pixel's class, not its colour"):
        found.truth(found.items[0])


def test_a_misspelt_set_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data set 'ade20' for this task: did you mean ade20k"):
        open_masks(f"ade20:{tmp_path}")
    with pytest.raises(DataError, match="is not a folder"):
        open_masks(f"ade20k:{tmp_path}/none")


def test_every_layout_has_a_name_and_a_value_for_each_class() -> None:
    for name, layout in layouts().items():
        named = len(layout.names()) - layout.background
        for encoding in layout.encodings:
            values = encoding.label_values(named)
            assert len(values.classes) == len(layout.names()), name
            assert len(set(values.classes)) == len(values.classes), name
            assert not set(values.classes) & set(values.ignored), name
