"""The commands and the program of the search guide, run on small pictures."""

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import dinotxt
from dinotxt.cli.main import app
from dinotxt.inference.encoder import Encoder

_GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "search.md").read_text("utf-8")
_BLOCKS = re.findall(r"^```(bash|python)\n(.*?)^```", _GUIDE, flags=re.M | re.S)


@pytest.fixture
def _in_an_album(
    colour_encoder: Encoder,
    pictures: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pictures in the folders that the guide names, and a small model in place of lite."""
    for folder, name in (("2024/summer", "red"), ("2024", "green"), ("2025", "half")):
        target = tmp_path / "album" / folder / "a.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(pictures[name], target)
    shutil.copy(pictures["blue"], tmp_path / "photo.jpg")

    def load(*_: object, **__: object) -> Encoder:
        return colour_encoder

    monkeypatch.setattr("dinotxt.inference.encoder.load", load)
    monkeypatch.setattr(dinotxt, "load", load, raising=False)
    monkeypatch.setattr("webbrowser.open", lambda _: True)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_in_an_album")
def test_every_command_of_the_guide_works(tmp_path: Path) -> None:
    lines = [line for kind, block in _BLOCKS if kind == "bash" for line in block.splitlines()]
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("dinotxt ")]
    assert {command[0] for command in commands} == {"index", "search", "serve"}
    for command in commands:
        if command[0] != "serve":  # the serving guide's tests run it
            result = CliRunner().invoke(app, command)
            assert result.exit_code == 0, (command, result.output)
    assert (tmp_path / "dogs.html").exists()
    assert list((tmp_path / "album.index" / "thumbnails").rglob("*.jpg"))


@pytest.mark.usefixtures("_in_an_album")
def test_the_program_of_the_guide_works(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    (program,) = (block for kind, block in _BLOCKS if kind == "python")
    exec(program, names)
    assert {Path(hit.path).parent.name for hit in names["index"].search("red")} == {
        "2024", "2025", "summer",
    }  # fmt: skip
    assert "2024" in capsys.readouterr().out
