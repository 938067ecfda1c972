import errno
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import fsspec
import pyarrow
import pyarrow.parquet
import pytest

from dinotxt.data.streaming.cache import ShardCache
from dinotxt.data.streaming.index import index_shards, list_shards
from dinotxt.data.streaming.remote import Remote
from dinotxt.errors import DataError
from dinotxt.results.skip import Skip

MakeTar = Callable[[Path, Mapping[str, Any]], Path]


@pytest.fixture
def memory() -> Iterator[Any]:
    """An empty filesystem in memory."""
    filesystem = fsspec.filesystem("memory")
    yield filesystem
    filesystem.store.clear()


@pytest.fixture
def cache(tmp_path: Path) -> ShardCache:
    return ShardCache(tmp_path / "copies", max_bytes=1 << 30, remote=Remote(retries=0))


def fail(skip: Skip) -> None:
    pytest.fail(str(skip))


def members(count: int) -> dict[str, Any]:
    return {f"{n}{end}": "x" for n in range(count) for end in (".jpg", ".txt")}


def test_tars_and_parquet_files_are_counted(
    tmp_path: Path, cache: ShardCache, make_tar: MakeTar
) -> None:
    make_tar(tmp_path / "d/a.tar", members(3))
    table = pyarrow.table({"jpg": [b"x", b"y"], "caption": ["a", "b"]})
    pyarrow.parquet.write_table(table, tmp_path / "d/b.parquet")
    shards = list_shards(str(tmp_path / "d/*"), cache.remote, fail)
    assert index_shards(shards, cache, fail).counts == (3, 2)


def test_a_folder_means_its_shards(tmp_path: Path, cache: ShardCache, make_tar: MakeTar) -> None:
    make_tar(tmp_path / "d/b.tar", members(1))
    make_tar(tmp_path / "d/a.tar", members(1))
    found = list_shards(str(tmp_path / "d"), cache.remote, fail)
    assert [Path(shard).name for shard in found] == ["a.tar", "b.tar"]


def test_what_is_no_shard_is_refused(tmp_path: Path, cache: ShardCache) -> None:
    (tmp_path / "pairs.csv").write_text("path,caption\n")
    with pytest.raises(DataError, match="is no shard"):
        list_shards(str(tmp_path / "pairs.csv"), cache.remote, fail)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("sizes.json", {"a.tar": 30, "b.tar": 40}),
        (
            "index.json",
            {"shardlist": [{"url": "a.tar", "nsamples": 30}, {"url": "b.tar", "nsamples": 40}]},
        ),
    ],
)
def test_stated_counts_spare_a_look_at_the_shards(
    memory: Any, cache: ShardCache, name: str, content: dict[str, Any]
) -> None:
    memory.pipe(f"/d/{name}", json.dumps(content).encode())
    shards = ["memory://d/a.tar", "memory://d/b.tar"]
    assert index_shards(shards, cache, fail).counts == (30, 40)


def test_the_statistics_of_img2dataset_are_used(memory: Any, cache: ShardCache) -> None:
    for number in range(2):
        content = json.dumps({"successes": 10 + number}).encode()
        memory.pipe(f"/d/{number:05d}_stats.json", content)
    shards = [f"memory://d/{number:05d}.tar" for number in range(2)]
    assert index_shards(shards, cache, fail).counts == (10, 11)


def test_remote_shards_are_looked_at_where_nothing_is_stated(
    memory: Any, tmp_path: Path, cache: ShardCache, make_tar: MakeTar
) -> None:
    memory.pipe("/d/a.tar", make_tar(tmp_path / "a.tar", members(4)).read_bytes())
    table = pyarrow.table({"jpg": [b"x", b"y"], "caption": ["a", "b"]})
    pyarrow.parquet.write_table(table, tmp_path / "b.parquet")
    memory.pipe("/d/b.parquet", (tmp_path / "b.parquet").read_bytes())
    index = index_shards(["memory://d/a.tar", "memory://d/b.parquet"], cache, fail)
    assert index.counts == (4, 2)


def test_an_index_is_kept_until_a_shard_changes(
    tmp_path: Path, cache: ShardCache, make_tar: MakeTar, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = [str(make_tar(tmp_path / "a.tar", members(2)))]
    first = index_shards(shards, cache, fail)
    monkeypatch.setattr(ShardCache, "open", lambda *_: pytest.fail("looked again"))
    assert index_shards(shards, cache, fail) == first
    monkeypatch.undo()
    make_tar(tmp_path / "a.tar", members(5))
    second = index_shards(shards, cache, fail)
    assert second.counts == (5,)
    assert second.fingerprint != first.fingerprint


def test_the_fingerprint_does_not_depend_on_the_place(
    tmp_path: Path, cache: ShardCache, make_tar: MakeTar
) -> None:
    here = index_shards([str(make_tar(tmp_path / "x/a.tar", members(2)))], cache, fail)
    there = index_shards([str(make_tar(tmp_path / "y/a.tar", members(2)))], cache, fail)
    assert here.fingerprint == there.fingerprint


def test_a_torn_shard_counts_up_to_the_tear_and_is_reported(
    tmp_path: Path, cache: ShardCache, make_tar: MakeTar
) -> None:
    path = make_tar(tmp_path / "a.tar", members(4))
    path.write_bytes(path.read_bytes()[: 4 * 1024 + 100])
    skips: list[Skip] = []
    assert index_shards([str(path)], cache, skips.append).counts == (2,)
    assert [skip.path for skip in skips] == [str(path)]
    assert "torn at byte" in skips[0].reason


@pytest.mark.parametrize("place", ["local", "remote"])
def test_a_torn_parquet_shard_is_reported_and_left_out(
    memory: Any, tmp_path: Path, cache: ShardCache, make_tar: MakeTar, place: str
) -> None:
    torn = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"jpg": [b"x"], "caption": ["a"]}), torn)
    torn.write_bytes(torn.read_bytes()[:-9])
    memory.pipe("/d/a.parquet", torn.read_bytes())
    path = str(torn) if place == "local" else "memory://d/a.parquet"
    whole = str(make_tar(tmp_path / "b.tar", members(2)))
    for _ in range(2):  # the second time from the index that is kept
        skips: list[Skip] = []
        assert index_shards([path, whole], cache, skips.append).shards == (whole,)
        assert [skip.path for skip in skips] == [path]
        assert "is not a readable Parquet file" in skips[0].reason
    with pytest.raises(DataError, match="have no sample"):
        index_shards([path], cache, skips.append)


def test_a_parquet_shard_that_the_disk_does_not_give_stops_the_run(
    tmp_path: Path, cache: ShardCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"jpg": [b"x"], "caption": ["a"]}), path)

    def fail_to_read(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(pyarrow.parquet, "ParquetFile", fail_to_read)
    with pytest.raises(DataError, match="Input/output error"):
        index_shards([str(path)], cache, fail)


def test_a_shard_without_samples_is_reported_and_left_out(
    tmp_path: Path, cache: ShardCache, make_tar: MakeTar
) -> None:
    shards = [str(make_tar(tmp_path / "a.tar", {})), str(make_tar(tmp_path / "b.tar", members(1)))]
    skips: list[Skip] = []
    assert index_shards(shards, cache, skips.append).shards == (shards[1],)
    assert [skip.path for skip in skips] == [shards[0]]
    with pytest.raises(DataError, match="have no sample"):
        index_shards(shards[:1], cache, skips.append)
