"""What nouns are to each other, on a small WordNet and on the real one where it is installed."""

from pathlib import Path

import pytest

from dinotxt.errors import DataError
from dinotxt.text.wordnet.lexicon import DEBIAN, Lexicon

# number, words, pointers (symbol, target)
_SYNSETS = (
    (1, "physical_entity", ()),
    (2, "structure", (("@", 1), ("%p", 9))),
    (3, "building edifice", (("@", 2), ("%p", 4))),
    (4, "window", (("@", 2), ("%s", 5))),
    (5, "pane window_glass", (("@", 1),)),
    (6, "house", (("@", 3),)),
    (7, "sign", ()),
    (8, "sign signboard", (("@", 2),)),
    (9, "beam", (("@", 1),)),
    (10, "dormer", (("@", 4),)),
    (11, "man", (("@", 1),)),
    (12, "windows", ()),
)


@pytest.fixture
def small(tmp_path: Path) -> Lexicon:
    lines = ["  1 This software\n"]
    index: dict[str, list[str]] = {}
    for number, words, pointers in _SYNSETS:
        names = words.split()
        ends = "".join(f" {symbol} {target:08d} n 0000" for symbol, target in pointers)
        listed = " ".join(f"{name} 0" for name in names)
        lines.append(f"{number:08d} 03 n {len(names):02x} {listed} {len(pointers):03d}{ends} | x\n")
        for name in names:
            index.setdefault(name, []).append(f"{number:08d}")
    (tmp_path / "data.noun").write_text("".join(lines))
    rows = (f"{w} n {len(o)} 1 @ {len(o)} 0 {' '.join(o)}\n" for w, o in sorted(index.items()))
    (tmp_path / "index.noun").write_text("  1 This software\n" + "".join(rows))
    (tmp_path / "noun.exc").write_text("men man\n")
    return Lexicon(tmp_path)


@pytest.mark.parametrize(
    ("true", "predicted", "relation"),
    [
        ("building", "house", "hyponym"),
        ("house", "building", "hypernym"),
        ("house", "window", "part"),
        ("house", "pane", "part"),
        ("building", "dormer", "part"),
        ("building", "beam", "part"),
        ("window", "building", "whole"),
        ("building", "sign", None),
        ("building", "edifice", None),
        ("sign", "structure", "hypernym"),
        ("building", "men", None),
        ("building", "no such noun", None),
    ],
)
def test_parts_wholes_kinds_and_examples_are_told_apart(
    small: Lexicon, true: str, predicted: str, relation: str | None
) -> None:
    assert small.relation(true, predicted) == relation


@pytest.mark.parametrize(
    ("name", "sense"),
    [
        ("Window Glass", 5),
        ("windows", 4),
        ("building-other", 3),
        ("pvc-window", 4),
        ("street sign", 8),
        ("unheard | house", 6),
        ("men", 11),
        ("unheard", None),
    ],
)
def test_class_names_find_their_first_physical_sense(
    small: Lexicon, name: str, sense: int | None
) -> None:
    assert small.sense(name) == sense


def test_missing_files_are_named_with_the_package_that_has_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"index\.noun.*wordnet-base"):
        Lexicon(tmp_path)


@pytest.mark.skipif(not DEBIAN.exists(), reason="wordnet-base is not installed")
def test_the_installed_wordnet_knows_buildings_and_cars() -> None:
    lexicon = Lexicon()
    assert lexicon.relation("building", "windows") == "part"
    assert lexicon.relation("car", "vehicle") == "hypernym"
    assert lexicon.relation("road", "tree") is None
