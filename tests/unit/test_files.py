import errno
import hashlib
import os
from pathlib import Path

import pytest

from dinotxt.errors import DataError
from dinotxt.files import atomic_path, cache_dir, read_json, sha256_file, write_json


def _write_half(target: Path) -> None:
    with atomic_path(target) as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")


def test_an_atomic_write_makes_the_folder_and_the_file(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("whole")
    assert target.read_text() == "whole"
    assert [path.name for path in target.parent.iterdir()] == ["file.txt"]


def test_a_failed_write_keeps_the_old_file_and_leaves_no_rubbish(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")
    with pytest.raises(OSError, match="No space"):
        _write_half(target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_an_atomic_write_follows_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        with atomic_path(tmp_path / "file") as temporary:
            temporary.write_text("x")
    finally:
        os.umask(old)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_json_goes_out_and_comes_back(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"name": "café", "n": [1, 2]})
    assert read_json(tmp_path / "a.json") == {"name": "café", "n": [1, 2]}


def test_json_holds_the_bytes_of_a_file_name_that_is_not_utf8(tmp_path: Path) -> None:
    content = {"root": os.fsdecode(b"/album\xff/caf\xc3\xa9")}
    write_json(tmp_path / "a.json", content)
    assert os.fsencode(read_json(tmp_path / "a.json")["root"]) == b"/album\xff/caf\xc3\xa9"


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe"])
def test_broken_json_is_an_error_that_names_the_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.json"):
        read_json(tmp_path / "a.json")


def test_missing_json_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.json does not exist"):
        read_json(tmp_path / "a.json")


def test_sha256_is_that_of_the_content(tmp_path: Path) -> None:
    content = bytes(range(256)) * 9000
    (tmp_path / "a").write_bytes(content)
    assert sha256_file(tmp_path / "a") == hashlib.sha256(content).hexdigest()


def test_the_cache_folder_can_be_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DINOTXT_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
