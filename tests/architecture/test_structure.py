"""Rooms of a size: the layout's goals, counted as ``benchmarks/structure.py`` counts them."""

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
