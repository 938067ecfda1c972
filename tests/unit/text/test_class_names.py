from pathlib import Path

import pytest

from dinotxt.errors import ConfigError
from dinotxt.text.class_names import class_names
from dinotxt.text.published import imagenet_ids


def test_imagenet_has_its_thousand_names() -> None:
    names = class_names("imagenet")
    assert len(names) == 1000
    assert (names[0], names[-1]) == ("tench", "toilet paper")


def test_names_come_from_a_file_one_a_line(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("\ufeffcat | kitty\nred panda \n\n")
    assert class_names(tmp_path / "names.txt") == ("cat | kitty", "red panda")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"cat\n\ndog\n", ":2 is empty"), (b"\n", "is empty"), (b"c\xff\n", "nor a readable file")],
)
def test_bad_file_of_names_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "names.txt").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        class_names(tmp_path / "names.txt")


def test_unknown_name_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"neither a list of class names \(imagenet, ade20k"):
        class_names("imagenot")


@pytest.mark.parametrize(
    ("source", "num", "position", "name"),
    [
        ("ade20k", 150, 1, "building"),
        ("ade20k:full", 150, 1, "building, edifice"),
        ("ade20k:synonyms", 150, 1, "building | edifice"),
        ("ade20k:mmseg", 150, 89, "television receiver"),
        ("ade20k-optimised", 150, 1, "facade, frontage, frontal"),
        ("cityscapes", 19, 18, "bicycle"),
        ("voc20", 20, 10, "diningtable"),
        ("voc20:words", 20, 10, "dining table"),
        ("cocostuff", 171, 84, "building-other"),
        ("cocostuff:words", 171, 84, "building"),
        ("context59", 59, 58, "wood"),
        ("camvid", 11, 0, "sky"),
    ],
)
def test_lists_that_come_along_have_their_variants(
    source: str, num: int, position: int, name: str
) -> None:
    names = class_names(source)
    assert len(names) == num
    assert names[position] == name


def test_first_synonyms_of_ade20k_are_all_different() -> None:
    for variant in ("first", "full", "synonyms", "mmseg"):
        assert len(set(class_names(f"ade20k:{variant}"))) == 150


def test_an_unknown_variant_names_those_that_exist() -> None:
    with pytest.raises(ConfigError, match=r"camvid has no names 'latin': give first, full"):
        class_names("camvid:latin")


def test_imagenets_ids_stand_in_the_order_of_its_names() -> None:
    names = dict(zip(imagenet_ids(), class_names("imagenet"), strict=True))
    assert names["n01440764"] == "tench"
    assert names["n03792782"] == "mountain bike"
    assert names["n15075141"] == "toilet paper"
