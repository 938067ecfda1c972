import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.evaluation.datasets.conftest import lines, picture

from dinotxt.errors import DataError
from dinotxt.evaluation.datasets import open_pairs
from dinotxt.results.skip import Skip


def _karpathy(root: Path, name: str, **fields: Any) -> None:
    sentences = [{"raw": f"caption {number}"} for number in range(7)]
    images = [
        {"filename": f"{split}.jpg", "split": split, "sentences": sentences, **fields}
        for split in ("train", "test")
    ]
    root.mkdir(exist_ok=True)
    (root / name).write_text(json.dumps({"images": images}))


def test_coco_karpathy_is_its_test_split_with_five_captions(tmp_path: Path) -> None:
    _karpathy(tmp_path, "dataset_coco.json", filepath="val2014")
    for split in ("train", "test"):
        picture(tmp_path / "val2014" / f"{split}.jpg")
    found = open_pairs(f"coco-karpathy:{tmp_path}")
    assert (found.name, found.captions) == ("coco-karpathy", 5)
    assert [pair.key for pair in found.pairs] == ["val2014/test.jpg"]
    assert found.pairs[0].captions == tuple(f"caption {number}" for number in range(5))
    assert open_pairs(f"coco-karpathy:{tmp_path}#train").pairs[0].key == "val2014/train.jpg"


def test_karpathy_file_without_a_split_is_evaluated_on_its_test_split(tmp_path: Path) -> None:
    _karpathy(tmp_path, "mine.json")
    for split in ("train", "test"):
        picture(tmp_path / f"{split}.jpg")
    assert [pair.key for pair in open_pairs(tmp_path / "mine.json").pairs] == ["test.jpg"]
    assert [pair.key for pair in open_pairs(f"{tmp_path}/mine.json#train").pairs] == ["train.jpg"]


def test_coco_val2017_is_another_set(tmp_path: Path) -> None:
    picture(tmp_path / "val2017" / "000000000139.jpg")
    content = {
        "images": [{"id": 139, "file_name": "000000000139.jpg"}],
        "annotations": [{"image_id": 139, "caption": "a room"}],
    }
    (tmp_path / "annotations").mkdir()
    path = tmp_path / "annotations" / "captions_val2017.json"
    path.write_text(json.dumps(content))
    assert open_pairs(f"coco-val2017:{tmp_path}").name == "coco-val2017"
    plain = open_pairs(path)
    assert (plain.name, plain.captions) == ("coco-val2017", None)
    with pytest.raises(DataError, match=r"is not coco-karpathy: it has no dataset_coco\.json or"):
        open_pairs(f"coco-karpathy:{tmp_path}")


@pytest.mark.parametrize("name", ["flickr30k", "flickr8k"])
def test_flickr_is_karpathys_test_split(tmp_path: Path, name: str) -> None:
    _karpathy(tmp_path, f"dataset_{name}.json")
    picture(tmp_path / f"{name}-images" / "test.jpg")
    found = open_pairs(f"{name}:{tmp_path}")
    assert found.name == name
    assert [pair.key for pair in found.pairs] == ["test.jpg"]


def test_flickr8k_is_read_from_its_own_text_files(tmp_path: Path) -> None:
    picture(tmp_path / "Flicker8k_Dataset" / "1_a.jpg")
    rows = ("1_a.jpg#0\tA child .", "1_a.jpg#1\tA girl .", "2_b.jpg#0\tA dog .", "damaged")
    lines(tmp_path / "Flickr8k.token.txt", *rows)
    lines(tmp_path / "Flickr_8k.testImages.txt", "1_a.jpg", "3_c.jpg")
    skips: list[Skip] = []
    found = open_pairs(f"flickr8k:{tmp_path}", on_skip=skips.append)
    assert [(pair.key, pair.captions) for pair in found.pairs] == [
        ("1_a.jpg", ("A child .", "A girl ."))
    ]
    assert [skip.reason for skip in skips] == [
        "it is not a name, a tab and a caption",
        "Flickr8k.token.txt has no caption of it",
    ]
    with pytest.raises(DataError, match=r"but not Flickr_8k\.devImages\.txt"):
        open_pairs(f"flickr8k:{tmp_path}#val")


def test_any_other_form_has_all_its_captions(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("\n".join(f"caption {number}" for number in range(7)))
    found = open_pairs(tmp_path)
    assert found.name is None
    assert len(found.pairs[0].captions) == 7
