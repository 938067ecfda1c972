"""Spacing as MetaCLIP does it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinotxt.curation.text.spacing import is_matchable, normalizer, spaced_lines, spacing


@pytest.mark.parametrize(
    ("text", "spaced"),
    [
        ("a dog", " a dog "),
        ("a dog, running.", " a dog ,  running .  "),
        ("tab\there\nand\r", " tab here and  "),
        ('it\'s (re-done) "now"', ' it\'s (re-done) "now" '),
        ("wow!?`", " wow !  ?  `  "),
        ("", "  "),
    ],
)
def test_spacing_wraps_seven_marks_and_blanks_line_ends(text: str, spaced: str) -> None:
    assert spacing(text) == spaced


@given(st.lists(st.text(alphabet="ab ,.\t\n\r!'", max_size=12), min_size=1, max_size=6))
def test_many_captions_are_spaced_like_each_alone(texts: list[str]) -> None:
    assert spaced_lines(texts).split("\n") == [spacing(text) for text in texts]


@pytest.mark.parametrize(
    ("entry", "expected"), [("", False), (" ", False), (",", False), ("?!", False), ("7", True),
                            ("é", True), ("犬", True), ("a.", True)],
)  # fmt: skip
def test_an_entry_needs_a_letter_or_a_digit(entry: str, expected: bool) -> None:
    assert is_matchable(entry) is expected


def test_case_matters_unless_the_named_variant_folds_it() -> None:
    assert normalizer("metaclip") is None
    fold = normalizer("casefold")
    assert fold is not None
    assert fold("Straße ﬁt") == "strasse fit"
