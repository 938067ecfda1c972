from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dinotxt.data.readers.labelled import read_labelled
from dinotxt.errors import DataError
from dinotxt.results.skip import Skip

MakeImage = Callable[..., bytes]
MakeTar = Callable[[Path, Mapping[str, Any]], Path]


def test_folder_of_class_folders_numbers_them_by_name(tmp_path: Path) -> None:
    for name in ("dog/1.jpg", "cat/b.png", "cat/a.jpg", ".git/x.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "eel").mkdir()
    skips: list[Skip] = []
    found = read_labelled(tmp_path, on_skip=skips.append)
    assert found.class_names == ("cat", "dog", "eel")
    assert [(item.key, item.label) for item in found.items] == [
        ("cat/a.jpg", 0),
        ("cat/b.png", 0),
        ("dog/1.jpg", 1),
    ]
    assert [(skip.path, skip.reason) for skip in skips] == [
        (str(tmp_path / "eel"), "the class has no picture")
    ]


def test_clip_benchmark_folder_brings_names_and_templates(
    tmp_path: Path, make_image: MakeImage, make_tar: MakeTar
) -> None:
    make_tar(
        tmp_path / "test" / "0.tar",
        {"s0.jpg": make_image(), "s0.cls": "1\n", "s1.webp": make_image(), "s1.cls": "0"},
    )
    (tmp_path / "test" / "nshards.txt").write_text("1")
    (tmp_path / "classnames.txt").write_text("red panda\ncat\n")
    (tmp_path / "zeroshot_classification_templates.txt").write_text("a photo of {c}.\nthe {c}\n")
    found = read_labelled(tmp_path)
    assert [(item.key, item.label) for item in found.items] == [("0/s0", 1), ("0/s1", 0)]
    assert found.class_names == ("red panda", "cat")
    assert found.templates == ("a photo of {}.", "the {}")


def test_bad_records_of_a_tar_are_reported(
    tmp_path: Path, make_image: MakeImage, make_tar: MakeTar
) -> None:
    image = make_image()
    path = make_tar(
        tmp_path / "a.tar",
        {"a.jpg": image, "a.cls": "3", "b.jpg": image, "c.cls": "1", "d.jpg": image, "d.cls": "x"},
    )
    skips: list[Skip] = []
    found = read_labelled(path, on_skip=skips.append)
    assert [item.label for item in found.items] == [3]
    assert found.class_names == found.templates == ()
    assert len(skips) == 3
    assert "'x' is not a number" in skips[2].reason


def test_label_without_a_name_is_refused(
    tmp_path: Path, make_image: MakeImage, make_tar: MakeTar
) -> None:
    path = make_tar(tmp_path / "a.tar", {"a.jpg": make_image(), "a.cls": "2"})
    (tmp_path / "classnames.txt").write_text("one\ntwo\n")
    with pytest.raises(DataError, match="has the label 2 but names 2 classes"):
        read_labelled(path)


def test_table_of_names_and_of_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("path,label\n1.jpg,dog\n2.jpg,cat\n2.jpg,dog\n3.jpg,\n")
    skips: list[Skip] = []
    found = read_labelled(tmp_path / "a.csv", on_skip=skips.append)
    assert found.class_names == ("cat", "dog")
    assert [item.label for item in found.items] == [1, 0]
    assert [skip.reason for skip in skips] == ["this path came before", "the row has no label"]
    (tmp_path / "b.jsonl").write_text('{"image": "1.jpg", "label": 1}\n')
    (tmp_path / "classes.txt").write_text("x\ny\n")
    numbered = read_labelled(tmp_path / "b.jsonl")
    assert (numbered.items[0].label, numbered.class_names) == (1, ("x", "y"))


def test_other_forms_and_empty_data_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").touch()
    (tmp_path / "a.csv").write_text("path,label\n")
    (tmp_path / "empty").mkdir()
    for name, message in (
        ("a.xyz", "neither a folder, a tar nor a table"),
        ("a.csv", "no usable labelled pictures"),
        ("empty", "neither tars nor a folder for each class"),
        ("none", "does not exist"),
    ):
        with pytest.raises(DataError, match=message):
            read_labelled(tmp_path / name)


def test_unreadable_class_names_are_refused(
    tmp_path: Path, make_image: MakeImage, make_tar: MakeTar
) -> None:
    path = make_tar(tmp_path / "a.tar", {"a.jpg": make_image(), "a.cls": "0"})
    (tmp_path / "classnames.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(DataError, match=r"classnames\.txt cannot be read"):
        read_labelled(path)


def _classes(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "a.jpg").touch()
    return folder


def test_folders_that_are_numbers_have_their_number(tmp_path: Path) -> None:
    found = read_labelled(_classes(tmp_path / "0", *map(str, range(12))))
    assert {item.key.partition("/")[0]: item.label for item in found.items} == {
        str(number): number for number in range(12)
    }
    gap = read_labelled(_classes(tmp_path / "1", "1", "2", "10"))
    assert [item.label for item in gap.items] == [0, 1, 9]
    assert len(gap.class_names) == 10
    years = read_labelled(_classes(tmp_path / "y", "2001", "1990", "999"))
    assert years.class_names == ("999", "1990", "2001")


@pytest.mark.parametrize("names", [("train", "valid", "test"), ("images",), ("cat",)])
def test_splits_and_one_class_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match=r"splits and no classes|has one class"):
        read_labelled(_classes(tmp_path, *names))


def test_labels_that_came_through_a_table_as_floats_are_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("path,label\na.jpg,0.0\nb.jpg,1.0\nc.jpg,-1\nd.jpg,-1.0\n")
    skips: list[Skip] = []
    found = read_labelled(tmp_path / "a.csv", on_skip=skips.append)
    assert [item.label for item in found.items] == [0, 1]
    assert found.class_names == ()
    assert [skip.reason for skip in skips] == ["the label -1 is no class"] * 2
