"""Stage folders: done, changed, incomplete."""

from pathlib import Path
from typing import Any

import pytest

from dinotxt.curation.stage import StageFolder, StageReport, add_reasons, read_report
from dinotxt.errors import ConfigError, DataError
from dinotxt.results.skip import Skip


def _report(name: str, **changes: Any) -> StageReport:
    settings: dict[str, Any] = {"stage": name, "n_in": 3, "n_out": 2, "reasons": {"odd": 1}}
    return StageReport(**{**settings, "files": (f"{name}/a.npy",), **changes})


def _do(root: Path, name: str, *, complete: bool = True, **arguments: Any) -> bool:
    """Do a stage unless it is done; return whether it was."""
    folder = StageFolder(root, name, config=arguments.pop("config", {"k": 1}), **arguments)
    if folder.finished():
        return True
    (folder.path / "work.npy").touch()
    folder.finish(_report(name, complete=complete))
    return False


def test_a_report_comes_back_as_it_was_written(tmp_path: Path) -> None:
    folder = StageFolder(tmp_path, "match", config={})
    assert folder.finished() is None
    report = _report("match", skipped=(Skip("a.tar", "torn"),), details={"t": 5})
    assert folder.finish(report) == report
    assert read_report(tmp_path, "match") == report
    assert report.to_dict()["skipped"] == [{"path": "a.tar", "reason": "torn"}]


def test_a_stage_that_was_not_done_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="match"):
        read_report(tmp_path, "match")


def test_a_finished_stage_is_not_done_again(tmp_path: Path) -> None:
    assert not _do(tmp_path, "match")
    assert _do(tmp_path, "match")


def test_another_configuration_is_refused_with_the_difference(tmp_path: Path) -> None:
    _do(tmp_path, "match")
    with pytest.raises(ConfigError, match=r"match\.k: 1 -> 2"):
        _do(tmp_path, "match", config={"k": 2})


def test_another_result_before_a_finished_stage_is_refused(tmp_path: Path) -> None:
    _do(tmp_path, "pairs")
    _do(tmp_path, "match", after=["pairs"])
    (tmp_path / "pairs" / "stage.json").write_text(
        (tmp_path / "pairs" / "stage.json").read_text().replace('"n_in": 3', '"n_in": 9')
    )
    with pytest.raises(ConfigError, match=r"upstream\.pairs"):
        _do(tmp_path, "match", after=["pairs"])
    assert not _do(tmp_path, "match", after=["pairs"], follows=True)


@pytest.mark.parametrize("keeps_files", [False, True])
def test_an_incomplete_stage_before_makes_those_after_it_incomplete_until_it_is_mended(
    tmp_path: Path, keeps_files: bool
) -> None:
    _do(tmp_path, "pairs", complete=False)
    _do(tmp_path, "match", after=["pairs"], keeps_files=keeps_files)
    assert not read_report(tmp_path, "match").complete
    (tmp_path / "match" / "kept.npy").touch()
    assert not _do(tmp_path, "pairs", complete=True)
    assert not _do(tmp_path, "match", after=["pairs"], keeps_files=keeps_files)
    assert read_report(tmp_path, "match").complete
    assert (tmp_path / "match" / "kept.npy").exists() is keeps_files


def test_reasons_add_up_and_empty_ones_go() -> None:
    assert add_reasons([{"a": 1, "b": 0}, {"a": 2}]) == {"a": 3}
