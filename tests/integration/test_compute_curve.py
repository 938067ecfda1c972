"""The plot of accuracy against compute, from the logs of two runs."""

import json
import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

SCRIPT = Path(__file__).parents[2] / "examples" / "compute_curve.py"


def write_log(run: Path, factor: float) -> Path:
    lines: list[dict[str, object]] = []
    for step in range(1, 5):
        lines.append({"step": step, "loss": 1.0, "gflops": factor * step})
        if step % 2 == 0:
            lines.append({"step": step, "evaluation": {"top1": step / 10}})
    run.mkdir()
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


def draw(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["compute_curve.py", *map(str, arguments)])
    runpy.run_path(str(SCRIPT), run_name="__main__")


def test_each_run_gives_a_line_over_what_it_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [write_log(tmp_path / name, factor) for name, factor in (("a", 10.0), ("b", 50.0))]
    draw(monkeypatch, *runs, "--metric", "top1", "--out", tmp_path / "curve.png")
    printed = capsys.readouterr().out
    assert "a: 0.4000 after 40 GFLOPs" in printed
    assert "b: 0.4000 after 200 GFLOPs" in printed
    with Image.open(tmp_path / "curve.png") as picture:
        assert picture.width > 600


def test_the_points_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "curve.json"
    draw(monkeypatch, write_log(tmp_path / "a", 10.0), "--metric", "top1", "--out", out)
    kept = {"metric": "top1", "runs": {"a": [[20.0, 0.2], [40.0, 0.4]]}}
    assert json.loads(out.read_text()) == kept


def test_a_metric_that_no_evaluation_has_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_log(tmp_path / "a", 1.0)
    with pytest.raises(SystemExit, match="no evaluation has top5"):
        draw(monkeypatch, run, "--metric", "top5", "--out", tmp_path / "curve.png")
