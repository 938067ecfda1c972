"""The ADE20K names of the paper's Table 10, and which of them its scan leaves open."""

import csv
from importlib import resources

from dinotxt.text.class_names import class_names

_FOLDER = resources.files("dinotxt.text.class_names")


def _marks() -> list[dict[str, str]]:
    text = (_FOLDER / "ade20k-optimised.marks.tsv").read_text("utf-8")
    return list(csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))


def test_there_are_150_different_names_in_the_order_of_ade20k() -> None:
    names = class_names("ade20k-optimised:full")
    original = class_names("ade20k:full")
    assert len(names) == len(set(names)) == len(original) == 150
    assert names[original.index("building, edifice")] == "facade, frontage, frontal"
    assert names[-1] == "flag"
    assert (names[53], names[59]) == ("stairs", "stairway")  # as the table prints them


def test_about_25_names_are_replaced_and_the_others_shortened() -> None:
    pairs = zip(class_names("ade20k:full"), class_names("ade20k-optimised:full"), strict=True)
    replaced = [new for old, new in pairs if new.split(", ")[0] not in old.split(", ")]
    assert 20 <= len(replaced) <= 30
    assert {"people", "bush", "reception desk", "baldachin", "range hood"} <= set(replaced)


def test_every_mark_points_at_its_line() -> None:
    original = class_names("ade20k:full")
    names = class_names("ade20k-optimised:full")
    marks = _marks()
    for mark in marks:
        line = int(mark["line"]) - 1
        assert mark["original"] == original[line]
        assert mark["read as"] == names[line]
        kept = names[line] == original[line].split(", ")[0]
        assert kept or "illegible" not in mark["why"]
    assert sum("illegible" in mark["why"] for mark in marks) == 17
