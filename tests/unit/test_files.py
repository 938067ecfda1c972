import errno
import hashlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dinotxt.errors import DataError
from dinotxt.files import (
    Mark,
    Results,
    atomic_path,
    cache_dir,
    check_own_folder,
    one_writer,
    read_json,
    read_lines,
    read_mark,
    remove_unfinished,
    sha256_file,
    write_json,
)


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


_HOLD = """
import multiprocessing, sys, time
from dinotxt.files import one_writer

with one_writer(sys.argv[1], "train"):
    multiprocessing.get_context("fork").Process(target=time.sleep, args=(20,), daemon=True).start()
    print("held", flush=True)
    time.sleep(20)
"""


def test_a_second_writer_is_told_who_holds_the_folder_until_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _HOLD, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        said = rf"`dinotxt train` \(process {holder.pid} on {socket.gethostname()}, since \d{{4}}-"
        with pytest.raises(DataError, match=said), one_writer(tmp_path / "run", "train"):
            pass
        holder.send_signal(signal.SIGKILL)  # its own child lives on
        holder.wait()
        with one_writer(tmp_path / "run", "train"):
            assert read_json(tmp_path / "run" / ".lock.json")["pid"] == os.getpid()
    assert {path.name for path in (tmp_path / "run").iterdir()} == {".lock", ".dinotxt"}


def test_one_process_does_not_hold_a_folder_twice(tmp_path: Path) -> None:
    again = pytest.raises(DataError, match=f"process {os.getpid()} on")
    with one_writer(tmp_path, "curate"), again, one_writer(tmp_path, "curate"):
        pass
    with one_writer(tmp_path, "curate"):
        (tmp_path / ".lock.json").write_text("torn")
        with pytest.raises(DataError, match="written by another"), one_writer(tmp_path, "index"):
            pass


def test_a_folder_of_others_is_not_taken(tmp_path: Path) -> None:
    check_own_folder(tmp_path / "missing", "manifest.json")
    (tmp_path / ".lock").touch()
    (tmp_path / ".manifest.json.a1b2c3d4.tmp").touch()
    check_own_folder(tmp_path, "manifest.json")
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(DataError, match=r"holds other files \(holiday\.jpg\)"):
        check_own_folder(tmp_path, "manifest.json")
    with pytest.raises(DataError, match="is a file"):
        check_own_folder(tmp_path / "holiday.jpg", "manifest.json")
    (tmp_path / "manifest.json").touch()
    check_own_folder(tmp_path, "manifest.json")


def test_only_the_names_of_atomic_writes_are_cleaned(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a.npy") as temporary:
        left = tmp_path / temporary.name
        for name in ("notes.tmp", ".notes.tmp", ".cache.12.tmp"):
            (tmp_path / name).touch()
        remove_unfinished(tmp_path)
        assert not left.exists()
        temporary.touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".cache.12.tmp", ".notes.tmp", "a.npy", "notes.tmp",
    ]  # fmt: skip


def test_lines_lose_a_byte_order_mark_blanks_around_them_and_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf cat \r\n\r\ndog\n\n \n")
    assert read_lines(tmp_path / "a.txt") == ("cat", "", "dog")
    (tmp_path / "b.txt").write_bytes(b"caf\xe9")
    for name in ("b.txt", "missing.txt", "nul\0.txt"):
        with pytest.raises(DataError, match="cannot be read"):
            read_lines(tmp_path / name)


def test_a_writer_marks_its_folder_and_a_torn_list_of_results_is_read(tmp_path: Path) -> None:
    with one_writer(tmp_path / "index", "index"):
        assert read_mark(tmp_path / "index") == Mark(tmp_path / "index", "index")
    Results("segment").add(tmp_path / "index" / "a.png")  # all of it is marked already
    assert read_mark(tmp_path / "index") == Mark(tmp_path / "index", "index")
    check_own_folder(tmp_path / "index", "manifest.json")
    (tmp_path / ".dinotxt").write_text('dinotxt segment\n"a.png"\n"b.p')
    assert read_mark(tmp_path) == Mark(tmp_path, "segment", frozenset({"a.png"}))
    (tmp_path / ".dinotxt").write_text("something else")
    assert read_mark(tmp_path) is None
