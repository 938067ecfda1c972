from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinotxt.data.readers.location import expand, expand_braces
from dinotxt.errors import DataError


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a-{008..010}.tar", ["a-008.tar", "a-009.tar", "a-010.tar"]),
        ("{2..0}", ["2", "1", "0"]),
        ("{a,b}/{0..1}", ["a/0", "a/1", "b/0", "b/1"]),
        ("{odd}", ["{odd}"]),
        ("{odd}{1,2}", ["{odd}1", "{odd}2"]),
        ("plain", ["plain"]),
    ],
)
def test_braces_expand_as_in_a_shell(pattern: str, expected: list[str]) -> None:
    assert expand_braces(pattern) == expected


@pytest.mark.parametrize("pattern", ["{0..99999999}", "{0..9999}{0..9999}"])
def test_braces_that_mean_millions_of_files_are_refused(pattern: str) -> None:
    with pytest.raises(DataError, match="more than 1000000 files"):
        expand_braces(pattern)


@given(first=st.integers(0, 300), last=st.integers(0, 300))
def test_range_counts_every_number_once(first: int, last: int) -> None:
    found = expand_braces(f"{{{first:05d}..{last}}}")
    assert [int(name) for name in found] == list(
        range(first, last + (1 if last >= first else -1), 1 if last >= first else -1)
    )
    assert all(len(name) == 5 for name in found)


def test_existing_file_with_pattern_characters_is_itself(tmp_path: Path) -> None:
    path = tmp_path / "a[1]{0..3}.tar"
    path.touch()
    assert expand(str(path), lambda skip: None) == [path]


def _images(folder: Path) -> None:
    (folder / "sub").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for name in ("b.JPG", "a.png", "sub/c.webp", "notes.txt", ".d.jpg", ".hidden/e.jpg"):
        (folder / name).touch()
