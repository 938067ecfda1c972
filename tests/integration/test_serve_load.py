"""Sixty-four clients at once: only answers and stated refusals, and no growing memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

_SCRIPT = Path(__file__).parents[2] / "benchmarks" / "load.py"


def test_sixty_four_clients_are_answered_or_refused_by_the_limits(
    tiny_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "load.json"
    options = ["--model", str(tiny_model), "--seconds", "15", "--json", str(out)]
    subprocess.run([sys.executable, str(_SCRIPT), *options], check=True, timeout=300)
    report = json.loads(out.read_text())
    load = report["load"]
    assert load["clients"] == 64
    assert load["statuses"]["200"] > 64
    assert set(load["statuses"]) <= {"200", "429", "503"}
    assert load["milliseconds"]["p50"] <= load["milliseconds"]["p95"]
    assert report["figures"]["answered"]["value"] == 1
    memory = report["memory_mib"]
    assert memory["after"] < memory["before"] + 100
