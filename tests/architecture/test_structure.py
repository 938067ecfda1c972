"""Rooms of a size: the layout's goals, counted as ``benchmarks/structure.py`` counts them."""

import re
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(_ROOT / "benchmarks"))

from structure import counts  # noqa: E402 - a script of another folder


def test_the_layout_keeps_to_its_goals() -> None:
    found = counts(_ROOT)
    assert 120 <= found["median"] <= 160
    assert found["short"] <= 35
    assert found["circles"] == 0


def test_the_walks_of_the_architecture_name_files_that_are_there() -> None:
    text = (_ROOT / "ARCHITECTURE.md").read_text("utf-8")
    walks = text.partition("## Four walks")[2].partition("\n## ")[0]
    source = _ROOT / "src/dinotxt"
    there = {f"/{path.relative_to(source).as_posix()}" for path in source.rglob("*.py")}
    named = re.findall(r"`([\w/]+\.py)", walks)
    assert len(named) > 40
    assert [name for name in named if not any(path.endswith(f"/{name}") for path in there)] == []
