from pathlib import Path

import pytest

from dinotxt.errors import ConfigError, DataError
from dinotxt.evaluation.names import choose_names, readable
from dinotxt.text.published import imagenet_ids


def test_the_names_of_the_data_become_words() -> None:
    names = choose_names(("red_panda", "cat"), None, 2, "d")
    assert names.names == ("red panda", "cat")
    assert names.index.tolist() == [0, 1]
    assert names.source == "data"


def test_a_longer_list_is_matched_by_name_and_synonym() -> None:
    given = ["dog", "Cat | kitty", "red panda", "horse"]
    names = choose_names(("kitty", "red_panda"), given, 2, "d")
    assert names.index.tolist() == [1, 2]
    assert len(names.names) == 4


def test_a_list_of_the_same_length_is_taken_in_order() -> None:
    names = choose_names(("n1", "n2"), ["tench", "goldfish"], 2, "d")
    assert names.index.tolist() == [0, 1]


def test_data_without_names_take_a_list_that_covers_the_labels(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    names = choose_names((), tmp_path / "names.txt", 2, "d")
    assert names.names == ("a", "b", "c")
    assert names.source == str(tmp_path / "names.txt")


@pytest.mark.parametrize(("of_data", "given"), [((), ["a"]), (("x", "y"), ["a", "b", "c"])])
def test_a_list_that_does_not_fit_is_refused(of_data: tuple[str, ...], given: list[str]) -> None:
    with pytest.raises(DataError, match="give one name for each"):
        choose_names(of_data, given, 2, "d")


@pytest.mark.parametrize("of_data", [(), ("n00000001", "n00000002")])
def test_data_without_usable_names_ask_for_them(of_data: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match="give them with --classes"):
        choose_names(of_data, None, 2, "d")


def test_the_thousand_wordnet_folders_are_imagenet() -> None:
    names = choose_names(imagenet_ids(), None, 1000, "d")
    assert names.source == "imagenet"
    assert names.names[:2] == ("tench", "goldfish")
    assert names.index.tolist() == list(range(1000))


def test_some_of_imagenets_folders_have_their_own_names_or_compete_with_all() -> None:
    some = ("n01443537", "n01484850")
    names = choose_names(some, None, 2, "d")
    assert names.names == ("goldfish", "great white shark")
    assert names.source == "imagenet, 2 of its classes"
    everyone = choose_names(some, "imagenet", 2, "d")
    assert len(everyone.names) == 1000
    assert everyone.index.tolist() == [1, 2]


def test_a_variant_of_the_data_is_chosen_by_its_name() -> None:
    variants = {"common": ("magpie", "oak")}
    names = choose_names(("Pica pica", "Quercus"), "common", 2, "d", variants)
    assert names.names == ("magpie", "oak")
    assert names.source == "common"


def test_one_name_for_two_classes_falls_back_to_the_order() -> None:
    names = choose_names(("missile", "missile"), ["missile", "missile"], 2, "d")
    assert names.index.tolist() == [0, 1]


def test_underscores_and_spaces_become_single_spaces() -> None:
    assert readable(" polar__bear_ ") == "polar bear"


def test_an_unknown_list_names_those_of_the_data_too() -> None:
    variants = {"scientific": ("Pica pica",), "common": ("magpie",)}
    with pytest.raises(ConfigError, match="The data have scientific, common themselves"):
        choose_names(["Pica pica"], "latin", 1, "data", variants)
