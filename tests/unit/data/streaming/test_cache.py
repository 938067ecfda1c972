import errno
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from dinotxt.data.streaming.cache import ShardCache
from dinotxt.data.streaming.remote import Remote
from dinotxt.errors import DataError


class Copies(Remote):
    """A remote whose files hold their own name."""

    def __init__(self) -> None:
        super().__init__(retries=0)
        self.fetched: list[str] = []
        self.error: Exception | None = None

    def fetch(self, address: str, target: Path) -> None:
        self.fetched.append(address)
        if self.error is not None:
            raise self.error
        time.sleep(0.01)
        target.write_bytes(address.encode())


@pytest.fixture
def copies() -> Copies:
    return Copies()


def cache(tmp_path: Path, copies: Copies, max_bytes: int = 1 << 20) -> ShardCache:
    return ShardCache(tmp_path / "copies", max_bytes=max_bytes, remote=copies)


def test_a_local_tar_is_used_where_it_is(tmp_path: Path, copies: Copies) -> None:
    (tmp_path / "a.tar").write_bytes(b"tar")
    local = cache(tmp_path, copies).open(str(tmp_path / "a.tar"))
    assert local.path == tmp_path / "a.tar"
    assert copies.fetched == []
    with pytest.raises(DataError, match="does not exist any more"):
        cache(tmp_path, copies).open(str(tmp_path / "b.tar"))


def test_a_remote_shard_is_fetched_once_for_all(tmp_path: Path, copies: Copies) -> None:
    made = cache(tmp_path, copies)
    with ThreadPoolExecutor(4) as pool:
        paths = {local.path for local in pool.map(made.open, ["s3://b/a.tar"] * 8)}
    assert copies.fetched == ["s3://b/a.tar"]
    assert [path.read_bytes() for path in paths] == [b"s3://b/a.tar"]


def test_shards_of_one_name_in_two_places_stay_apart(tmp_path: Path, copies: Copies) -> None:
    made = cache(tmp_path, copies)
    assert made.local_path("s3://b/a.tar") != made.local_path("s3://c/a.tar")


def test_the_longest_unused_copies_go_first_but_none_in_use(tmp_path: Path, copies: Copies) -> None:
    made = cache(tmp_path, copies, max_bytes=2 * len("s3://b/1.tar"))
    held = made.open("s3://b/1.tar")
    second = made.local_path("s3://b/2.tar")
    os.utime(held.path, (1, 1))
    third = made.local_path("s3://b/3.tar")
    assert held.path.exists()
    assert not second.exists()
    assert third.exists()
    held.close()
    made.local_path("s3://b/4.tar")
    assert not held.path.exists()


def test_a_copy_that_was_removed_comes_back(tmp_path: Path, copies: Copies) -> None:
    made = cache(tmp_path, copies)
    made.local_path("s3://b/1.tar").unlink()
    assert made.local_path("s3://b/1.tar").exists()
    assert len(copies.fetched) == 2


def test_a_parquet_shard_becomes_a_tar(tmp_path: Path, copies: Copies) -> None:
    source = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"jpg": [b"x"], "caption": ["a"]}), source)
    path = cache(tmp_path, copies).local_path(str(source))
    assert path.suffix == ".tar"
    assert path.stat().st_size > 512


def test_a_parquet_file_that_was_changed_is_unpacked_again(tmp_path: Path, copies: Copies) -> None:
    source = tmp_path / "a.parquet"
    made = cache(tmp_path, copies)
    for picture in (b"torn", b"new!"):
        table = pyarrow.table({"jpg": [picture], "caption": ["a"]})
        pyarrow.parquet.write_table(table, source)
        os.utime(source, (picture[0], picture[0]))
        assert picture in made.local_path(str(source)).read_bytes()
    source.unlink()
    with pytest.raises(DataError, match="does not exist any more"):
        made.local_path(str(source))


def test_a_full_disk_names_the_settings(tmp_path: Path, copies: Copies) -> None:
    copies.error = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(DataError, match=r"is full: .*data\.stream\.cache_gib"):
        cache(tmp_path, copies).open("s3://b/a.tar")
