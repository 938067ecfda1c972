import importlib
import sys
from pathlib import Path

import pytest

from dinotxt.cli import main as entry


def test_a_module_in_the_current_folder_can_be_named_whatever_started_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_network.py").write_text("width = 3\n")
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.chdir(tmp_path)
    widths = []
    monkeypatch.setattr(
        entry, "app", lambda: widths.append(importlib.import_module("own_network").width)
    )
    entry.main()
    assert widths == [3]


def test_the_current_folder_may_be_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    called = []
    monkeypatch.setattr(entry, "app", lambda: called.append(True))
    entry.main()
    assert called
