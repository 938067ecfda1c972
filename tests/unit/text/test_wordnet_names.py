"""WordNet's names: the list that ships, and a folder of data files."""

from pathlib import Path

import pytest

from dinotxt.errors import DataError
from dinotxt.text.wordnet import wordnet_names, wordnet_nouns

DEBIAN = Path("/usr/share/wordnet")


def test_the_list_that_ships_is_sorted_and_complete() -> None:
    names = wordnet_names()
    assert len(names) == 86_554
    assert names == sorted(set(names))
    assert {"dog", "golden retriever", "run"} <= set(names)


@pytest.mark.skipif(not DEBIAN.exists(), reason="wordnet-base is not installed")
def test_the_list_that_ships_is_that_of_the_data_files() -> None:
    assert wordnet_names(DEBIAN) == wordnet_names()
    assert wordnet_nouns(DEBIAN) == wordnet_nouns()


def test_names_are_the_first_words_in_lower_case_cut_at_a_stop(tmp_path: Path) -> None:
    lines = [
        "  1 This software\n",
        "00001740 03 n 01 Domestic_Dog 0 001 @ 1 | a dog\n",
        "00001741 03 n 02 St._Louis 0 x 0 001 @i 00001740 n 0000 | a city\n",
    ]
    (tmp_path / "data.noun").write_text("".join(lines))
    (tmp_path / "data.adj").write_text("00001742 00 a 01 afraid(p) 0 000 | scared\n")
    (tmp_path / "data.verb").write_text("")
    (tmp_path / "data.adv").write_text("")
    assert wordnet_names(tmp_path) == ["afraid", "domestic dog", "st"]
    assert wordnet_nouns(tmp_path) == ["domestic dog"]


def test_nouns_are_kinds_of_things_without_persons_places_and_verbs() -> None:
    nouns = set(wordnet_nouns())
    assert {"dog", "golden retriever", "building", "sidewalk"} <= nouns
    assert not {"einstein", "chicago", "afraid", "accelerate"} & nouns
    assert nouns < set(wordnet_names())


def test_a_folder_without_the_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="wordnet-base"):
        wordnet_names(tmp_path)
