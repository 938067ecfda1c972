"""One command draws every figure of the documentation, here with a tiny random model."""

import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]


def test_every_figure_of_the_documentation_is_drawn(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "images"
    options = ["--model", str(tiny_model), "--out", str(out), "--crops", "4"]
    monkeypatch.setattr(sys, "argv", ["figures.py", *options])
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    runpy.run_path(str(ROOT / "examples" / "figures.py"), run_name="__main__")
    assert {path.name for path in out.iterdir()} == {
        path.name for path in (ROOT / "docs" / "images").iterdir()
    }
    for path in out.iterdir():
        with Image.open(path) as picture:
            assert picture.width > 300
