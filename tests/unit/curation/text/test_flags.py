"""Captions that say little."""

import pytest

from dinotxt.curation.text.balance import flag


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("IMG_2041.jpg", "boilerplate"),
        ("DSC 00123", "boilerplate"),
        ("see http://example.org/a", "boilerplate"),
        ("Royalty-free stock photo", "boilerplate"),
        ("a photo of it", "generic"),
        ("image", "generic"),
        ("12", "generic"),
        ("the bank", "ambiguous"),
        ("photo of Mercury", "ambiguous"),
        ("a black dog runs on the beach", None),
        ("犬", None),
        ("犬が走る。", None),
        ("🙂", None),
    ],
)
def test_flag_of_a_caption(caption: str, expected: str | None) -> None:
    assert flag(caption) == expected
