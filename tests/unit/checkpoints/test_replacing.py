from pathlib import Path

import pytest

from dinotxt.checkpoints.replacing import replacing
from dinotxt.errors import DataError


def is_ours(folder: Path) -> bool:
    return (folder / "config.json").is_file()


def fill(folder: Path, text: str, fails: bool = False) -> None:
    with replacing(folder, "a thing", is_ours) as staging:
        (staging / "part").mkdir()
        (staging / "part" / "b").write_text(text)
        (staging / "config.json").write_text(text)
        if fails:
            raise ValueError("in the middle")


def content(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_new_and_empty_folders_and_earlier_ones_are_written(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".new.abcdefgh.tmp").mkdir()  # of a killed run
    for name in ("empty", "new"):
        fill(tmp_path / name, "1")
        (tmp_path / name / "mine.txt").write_text("mine")
        fill(tmp_path / name, "2")
        assert content(tmp_path / name) == {"part/b": "2", "config.json": "2", "mine.txt": "mine"}


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    fill(tmp_path / "a", "1")
    with pytest.raises(ValueError, match="in the middle"):
        fill(tmp_path / "a", "2", fails=True)
    assert content(tmp_path / "a") == {"part/b": "1", "config.json": "1"}
    with pytest.raises(ValueError, match="in the middle"):
        fill(tmp_path / "b", "1", fails=True)
    assert not (tmp_path / "b").exists()


def test_anything_else_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "to-mother.txt").write_text("dear")
    with pytest.raises(DataError, match=r"to-mother\.txt"):
        fill(tmp_path / "letters", "1")
    assert content(tmp_path / "letters") == {"to-mother.txt": "dear"}
    with pytest.raises(DataError, match="is a file"):
        fill(tmp_path / "letters" / "to-mother.txt", "1")
