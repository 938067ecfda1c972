import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from dinotxt.data.streaming import remote as module
from dinotxt.data.streaming.remote import Remote
from dinotxt.errors import BackendError, DataError
from dinotxt.files import is_address


@pytest.fixture
def memory() -> Iterator[Any]:
    """An empty filesystem in memory."""
    filesystem = fsspec.filesystem("memory")
    yield filesystem
    filesystem.store.clear()


def report(skip: object) -> None:
    pytest.fail(str(skip))


def test_an_address_has_a_protocol() -> None:
    assert is_address("s3://bucket/a.tar")
    assert not is_address("/data/a.tar")


def test_braces_and_globs_give_addresses_in_order(memory: Any) -> None:
    for name in ("b", "a", "c"):
        memory.pipe(f"/d/{name}.tar", b"x")
    found = Remote().expand("memory://d/*.tar", report)
    assert found == ["memory:///d/a.tar", "memory:///d/b.tar", "memory:///d/c.tar"]
    braces = Remote().expand("memory://d/{08..10}.tar", report)
    assert [address[-6:] for address in braces] == ["08.tar", "09.tar", "10.tar"]


def test_a_glob_that_matches_nothing_is_an_error(memory: Any) -> None:
    with pytest.raises(DataError, match="matches nothing"):
        Remote().expand("memory://none/*.tar", lambda skip: None)


def test_files_are_fetched_whole(memory: Any, tmp_path: Path) -> None:
    memory.pipe("/d/a.tar", bytes(range(200)))
    Remote().fetch("memory://d/a.tar", tmp_path / "a.tar")
    assert (tmp_path / "a.tar").read_bytes() == bytes(range(200))
    assert Remote().read("memory://d/a.tar") == bytes(range(200))
    with Remote().open("memory://d/a.tar") as stream:
        assert stream.read(2) == b"\0\1"


def test_a_missing_file_is_an_error_at_once(memory: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        Remote(pause=100).fetch("memory://d/none.tar", tmp_path / "a.tar")
    assert Remote(pause=100).read("memory://d/none.tar") is None


class RefusedError(Exception):
    """An answer of a web server."""

    status = 403


class Flaky:
    """Fails a number of times before it copies."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.failures = failures
        self.error = error
        self.calls = 0

    def __call__(self, address: str, target: Path) -> None:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        target.write_bytes(b"whole")


def test_what_fails_for_a_moment_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flaky = Flaky(2, ConnectionResetError("reset by peer"))
    monkeypatch.setattr(module, "_copy", flaky)
    Remote(retries=2, pause=0).fetch("memory://d/a.tar", tmp_path / "a.tar")
    assert (tmp_path / "a.tar").read_bytes() == b"whole"


def test_what_fails_for_long_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_copy", Flaky(9, ConnectionResetError("reset by peer")))
    with pytest.raises(DataError, match=r"reset by peer.* 3 times: .*run the same command"):
        Remote(retries=2, pause=0).fetch("memory://d/a.tar", tmp_path / "a.tar")


@pytest.mark.parametrize("error", [PermissionError("forbidden"), RefusedError("forbidden")])
def test_what_is_refused_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(module, "_copy", Flaky(9, error))
    with pytest.raises(DataError, match=r"forbidden.* 1 times: .*your rights"):
        Remote(pause=100).fetch("memory://d/a.tar", tmp_path / "a.tar")


def test_a_full_disk_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flaky = Flaky(9, OSError(errno.ENOSPC, "No space left on device"))
    monkeypatch.setattr(module, "_copy", flaky)
    with pytest.raises(OSError, match="No space"):
        Remote(pause=100).fetch("memory://d/a.tar", tmp_path / "a.tar")
    assert flaky.calls == 1


def test_an_unknown_protocol_is_named(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="nowhere://"):
        Remote().fetch("nowhere://a.tar", tmp_path / "a.tar")
