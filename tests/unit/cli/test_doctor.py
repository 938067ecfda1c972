import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dinotxt.cli import doctor
from dinotxt.cli.main import app


def content(**changes: Any) -> dict[str, Any]:
    """What a machine with nothing missing looks like."""
    found = {
        "packages": {"torch": "2.6", "numpy": "2.0"},
        "extras": [],
        "models": [],
        "folders": [],
        "environment": {},
    }
    return {**found, **changes}


def test_nothing_is_found_where_nothing_is_missing() -> None:
    assert doctor.findings(content()) == []


def test_a_missing_extra_comes_with_its_command() -> None:
    row = {"extra": "onnx", "missing": ["onnxruntime"], "fix": 'pip install "dinotxt[onnx]"'}
    (finding,) = doctor.findings(content(extras=[row]))
    assert "onnxruntime" in finding.what
    assert finding.fix == 'pip install "dinotxt[onnx]"'
    assert not finding.is_error


def test_a_missing_package_is_an_error() -> None:
    packages = {"onnxruntime": None, "numpy": "2.0"}
    (finding,) = doctor.findings(content(packages=packages))
    assert finding.is_error
    assert finding.fix == "pip install onnxruntime"


def test_a_full_or_closed_disk_and_a_wrong_variable_are_found(tmp_path: Path) -> None:
    folder = {"name": "cache", "path": "/somewhere", "writable": False, "free": 10}
    found = doctor.findings(
        content(folders=[folder], environment={"DINOTXT_WEIGHTS": str(tmp_path / "absent")})
    )
    assert [one.is_error for one in found] == [True, False, False]
    assert "DINOTXT_CACHE" in found[0].fix


def test_requirements_are_told_by_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["torch>=2.6", "fastapi>=0.1; extra == 'serve'", 'absent-thing[x]>=1; extra == "serve"']
    monkeypatch.setattr("importlib.metadata.requires", lambda name: lines)
    assert list(doctor.packages()) == ["torch"]
    (row,) = doctor.extras()
    assert row["extra"] == "serve"
    assert "absent-thing" in row["missing"]
    assert row["fix"] == 'pip install "dinotxt[serve]"'


def test_the_verb_prints_json_and_words(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["doctor", "--json", str(tmp_path / "doctor.json")])
    found = json.loads((tmp_path / "doctor.json").read_text())
    assert found["task"] == "doctor"
    assert {"machine", "packages", "devices", "extras", "models", "findings"} <= found.keys()
    assert {"engine": "torch", "device": "cpu"}.items() <= found["devices"][0].items()
    assert "torch on cpu" in result.stdout
