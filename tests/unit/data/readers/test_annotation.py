import json
from pathlib import Path
from typing import Any

import pytest

from dinotxt.data.readers.pairs import read_pairs
from dinotxt.errors import DataError
from dinotxt.results.skip import Skip


def _touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def _json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def _coco() -> dict[str, Any]:
    return {
        "images": [{"id": 7, "file_name": "a.jpg"}, {"id": 9, "file_name": "b.jpg"}],
        "annotations": [
            {"image_id": 9, "caption": "b one"},
            {"image_id": 7, "caption": "a one"},
            {"image_id": 9, "caption": "b two"},
        ],
    }


@pytest.mark.parametrize("folder", ["val2017", "annotations", "images/val2017", "."])
def test_coco_pictures_are_found_beside_the_annotations(tmp_path: Path, folder: str) -> None:
    _touch(tmp_path / folder / "b.jpg")
    path = _json(tmp_path / "annotations" / "captions_val2017.json", _coco())
    pairs = read_pairs(path)
    assert [(pair.key, pair.captions) for pair in pairs] == [
        ("a.jpg", ("a one",)),
        ("b.jpg", ("b one", "b two")),
    ]
    assert Path(pairs[1].image.path).samefile(tmp_path / folder / "b.jpg")


def test_coco_entries_that_are_damaged_are_reported(tmp_path: Path) -> None:
    _touch(tmp_path / "a.jpg")
    content = _coco()
    content["annotations"] += [{"caption": "no id"}, 5, {"image_id": 7, "caption": 3}]
    content["images"] += [{"id": 1}]
    skips: list[Skip] = []
    pairs = read_pairs(_json(tmp_path / "c.json", content), on_skip=skips.append)
    assert len(pairs) == 2
    assert len(skips) == 4


def test_coco_without_its_pictures_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.jpg was not found in"):
        read_pairs(_json(tmp_path / "x" / "c.json", _coco()))


def _karpathy() -> dict[str, Any]:
    def image(name: str, split: str) -> dict[str, Any]:
        sentences = [{"raw": f"{name} one"}, {"raw": f"{name} two"}]
        return {"filename": f"{name}.jpg", "split": split, "sentences": sentences}

    images = [image("a", "train"), image("b", "test"), image("c", "restval")]
    return {"dataset": "flickr", "images": images}


def test_karpathy_gives_the_splits_that_were_asked_for(tmp_path: Path) -> None:
    for name in "abc":
        _touch(tmp_path / "pictures" / f"{name}.jpg")
    path = _json(tmp_path / "dataset_flickr.json", _karpathy())
    assert [pair.captions for pair in read_pairs(f"{path}#test")] == [("b one", "b two")]
    assert len(read_pairs(f"{path}#train+restval")) == 2
    assert read_pairs(f"{path}#test")[0].image.path == str(tmp_path / "pictures" / "b.jpg")


def test_karpathy_without_or_with_an_unknown_split_names_the_splits(tmp_path: Path) -> None:
    path = _json(tmp_path / "dataset_flickr.json", _karpathy())
    with pytest.raises(DataError, match=r"needs a split: add one of restval, test, train"):
        read_pairs(path)
    with pytest.raises(DataError, match="has no split dev"):
        read_pairs(f"{path}#dev")


def test_karpathy_of_one_split_needs_no_name_and_of_several_takes_the_default(
    tmp_path: Path,
) -> None:
    for name in "abc":
        _touch(tmp_path / f"{name}.jpg")
    path = _json(tmp_path / "dataset.json", _karpathy())
    assert [pair.key for pair in read_pairs(path, default_split="test")] == ["b.jpg"]
    assert [pair.key for pair in read_pairs(f"{path}#train", default_split="test")] == ["a.jpg"]
    content = _karpathy()
    content["images"] = content["images"][2:]
    assert [pair.key for pair in read_pairs(_json(path, content))] == ["c.jpg"]


def test_karpathy_filepath_leads_to_the_picture(tmp_path: Path) -> None:
    content = _karpathy()
    content["images"][1]["filepath"] = "val2014"
    del content["images"][0]["sentences"]
    _touch(tmp_path / "val2014" / "b.jpg")
    path = _json(tmp_path / "dataset_coco.json", content)
    assert read_pairs(f"{path}#test")[0].image.path == str(tmp_path / "val2014" / "b.jpg")
    skips: list[Skip] = []
    assert len(read_pairs(f"{path}#train+test", on_skip=skips.append)) == 1
    assert 'no "sentences"' in skips[0].reason


@pytest.mark.parametrize("content", [[], {"images": 3}, {"images": [3]}])
def test_other_json_is_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises(DataError, match="neither COCO nor Karpathy"):
        read_pairs(_json(tmp_path / "c.json", content))


def test_split_of_coco_and_missing_file_are_refused(tmp_path: Path) -> None:
    _touch(tmp_path / "a.jpg")
    path = _json(tmp_path / "c.json", _coco())
    with pytest.raises(DataError, match="which has no splits"):
        read_pairs(f"{path}#test")
    with pytest.raises(DataError, match="does not exist"):
        read_pairs(tmp_path / "none.json")


def test_coco_of_which_a_part_is_on_the_disk_is_found_wherever_it_begins(tmp_path: Path) -> None:
    (tmp_path / "val2017").mkdir()
    (tmp_path / "val2017" / "8.jpg").touch()
    content = {
        "images": [{"id": number, "file_name": f"{number}.jpg"} for number in range(9)],
        "annotations": [{"image_id": number, "caption": "a"} for number in range(9)],
    }
    pairs = read_pairs(_json(tmp_path / "captions.json", content))
    assert pairs[8].image.path == str(tmp_path / "val2017" / "8.jpg")
