"""Small files: the budget of the style guide, checked."""

from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_FILES = sorted(
    path
    for folder in ("src", "tests", "benchmarks", "examples")
    for path in (_ROOT / folder).rglob("*.py")
)
_MAX_LINES = 300


@pytest.mark.parametrize("path", _FILES, ids=lambda path: str(path.relative_to(_ROOT)))
def test_no_file_is_longer_than_the_budget(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= _MAX_LINES


def test_the_readme_is_short() -> None:
    assert len((_ROOT / "README.md").read_text("utf-8").splitlines()) <= 150
