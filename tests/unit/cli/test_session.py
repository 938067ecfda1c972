import errno
import json
import warnings
from pathlib import Path

import pytest
import typer

from dinotxt import __version__
from dinotxt.cli.session import Session, session
from dinotxt.errors import DataError
from dinotxt.results.skip import Skip


def test_the_json_holds_the_keys_that_every_verb_has(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    with session("classify", str(path)) as current:
        current.finish({"results": []})
    content = json.loads(path.read_text())
    assert list(content) == ["task", "version", "seconds", "results", "skipped"]
    assert content["task"] == "classify"
    assert content["version"] == __version__
    assert content["skipped"] == []


def test_a_dash_writes_pure_json_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    with session("classify", "-") as current:
        current.console.print("a table")
        current.finish({"results": [1]})
    assert json.loads(capsys.readouterr().out)["results"] == [1]


@pytest.mark.parametrize(("done", "code"), [(2, 3), (0, 1)])
def test_skipped_inputs_set_the_exit_code(tmp_path: Path, done: int, code: int) -> None:
    path = tmp_path / "out.json"
    current = Session("index", str(path))
    current.skip(Skip("a.jpg", "is not a picture"))
    with pytest.raises(typer.Exit) as stop:
        current.finish({}, done=done)
    assert stop.value.exit_code == code
    assert json.loads(path.read_text())["skipped"] == [
        {"path": "a.jpg", "reason": "is not a picture"}
    ]


def test_an_error_is_one_message_and_exit_code_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as stop, session("index", None):
        raise DataError("[album] is empty: add pictures.")
    assert stop.value.exit_code == 1
    assert "error: [album] is empty: add pictures." in capsys.readouterr().err


def test_a_warning_is_one_plain_line_and_goes_the_usual_way_after_the_verb(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with session("classify", "-"):
            warnings.warn("[weights] are random", stacklevel=1)
        warnings.warn("after", stacklevel=1)
    assert [str(warning.message) for warning in caught] == ["after"]
    assert capsys.readouterr().err == "warning: [weights] are random\n"


def test_progress_reports_without_failing(capsys: pytest.CaptureFixture[str]) -> None:
    with session("index", None) as current, current.progress("reading") as report:
        report(1, 2)
        report(2, 2)
    assert "reading" in capsys.readouterr().err


def test_a_result_that_cannot_be_written_is_one_message_that_names_the_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    path = tmp_path / "file" / "out.json"
    with pytest.raises(typer.Exit) as stop, session("classify", str(path)) as current:
        current.finish({"results": []})
    assert stop.value.exit_code == 1
    error = capsys.readouterr().err
    assert f"error: {path} cannot be written" in error
    assert "choose another --json" in error


def test_a_full_disk_is_one_message_and_other_errors_of_the_system_are_not_hidden(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(typer.Exit) as stop, session("models convert", None):
        raise OSError(errno.ENOSPC, "No space left on device", "out/text_encoder.pth")
    assert stop.value.exit_code == 1
    error = capsys.readouterr().err
    assert "error: out/text_encoder.pth: No space left on device. Make room" in error
    with pytest.raises(FileNotFoundError), session("models convert", None):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "config.json")
