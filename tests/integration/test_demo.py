"""The demo runs from end to end, here on a tiny random model."""

import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

DEMO = Path(__file__).parents[2] / "examples" / "demo.py"


def test_the_demo_prints_three_tables_and_writes_overlays(
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["demo.py", "--model", str(tiny_model), "--out", str(out)])
    runpy.run_path(str(DEMO), run_name="__main__")
    printed = capsys.readouterr().out
    for title in ("Classification", "Search", "Segmentation"):
        assert title in printed
    assert str(out) in printed.replace("\n", "")
    overlays = sorted((out / "overlays").iterdir())
    assert [path.suffix for path in overlays] == [".png"] * 5 + [".jpg"]
    for overlay in overlays:
        with Image.open(overlay) as picture:
            assert picture.height > 200
