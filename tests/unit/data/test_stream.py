import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from dinotxt.data.remote import Remote
from dinotxt.data.shard_cache import ShardCache
from dinotxt.data.shard_index import ShardIndex
from dinotxt.data.stream import ShardReader
from dinotxt.errors import DataError

MakeTar = Callable[[Path, Mapping[str, Any]], Path]


@pytest.fixture
def reader(tmp_path: Path, make_tar: MakeTar) -> ShardReader:
    """Two local shards, of 2 samples and of 3; the index says that the second has 4."""
    shards = []
    for number, count in enumerate((2, 3)):
        files = {f"k{n}.jpg": f"picture {number} {n}" for n in range(count)}
        files |= {f"k{n}.txt": f"caption {number} {n}" for n in range(count - number)}
        shards.append(str(make_tar(tmp_path / f"s{number}.tar", files)))
    cache = ShardCache(tmp_path / "copies", max_bytes=1 << 20, remote=Remote(retries=0))
    return ShardReader(ShardIndex(tuple(shards), (2, 4)), cache, num_open=1)


def test_samples_are_told_by_shard_and_row(reader: ShardReader) -> None:
    image, captions = reader.pair(1, 1)
    assert image.read() == b"picture 1 1"
    assert captions == ("caption 1 1",)
    assert reader.pair(0, 1)[1] == ("caption 0 1",)
    assert reader.key(0, 1).endswith("s0.tar::k1")


def test_half_a_pair_and_a_row_beyond_the_end_are_errors(reader: ShardReader) -> None:
    with pytest.raises(DataError, match="no caption"):
        reader.pair(1, 2)
    with pytest.raises(DataError, match="has 3 of 4 samples"):
        reader.pair(1, 3)
    assert reader.key(1, 3).endswith("s1.tar#3")


def test_a_reader_may_be_sent_to_another_process(reader: ShardReader) -> None:
    reader.pair(0, 0)
    sent = pickle.loads(pickle.dumps(reader))
    assert sent.pair(0, 0)[1] == reader.pair(0, 0)[1]


def test_only_shards_that_need_a_copy_are_fetched_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    cache = ShardCache(tmp_path, max_bytes=1, remote=Remote(retries=0))
    monkeypatch.setattr(cache, "local_path", asked.append)
    shards = ("s3://b/a.tar", "/data/b.tar", "/data/c.parquet")
    reader = ShardReader(ShardIndex(shards, (1, 1, 1)), cache, num_open=1)
    reader.fetch_ahead([0, 1])
    reader.fetch_ahead([0, 2])
    pool = reader._fetchers
    assert pool is not None
    pool.shutdown(wait=True)
    assert sorted(asked) == ["/data/c.parquet", "s3://b/a.tar"]
    reader.close()


@pytest.mark.parametrize("damage", ["cut", "page"])
def test_the_rows_of_a_torn_parquet_shard_are_errors_of_their_own(
    tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "a.parquet"
    columns = {"jpg": [b"x" * 5000, b"y" * 5000], "caption": ["a", "b"]}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    content = path.read_bytes()
    path.write_bytes(content[:-9] if damage == "cut" else b"PAR1" + bytes(300) + content[304:])
    cache = ShardCache(tmp_path / "copies", max_bytes=1 << 20, remote=Remote(retries=0))
    reader = ShardReader(ShardIndex((str(path),), (2,)), cache, num_open=1)
    reader.open_shard(0)
    with pytest.raises(DataError, match=r"has 0 of 2 samples: .*is not a readable Parquet file"):
        reader.pair(0, 1)
    assert reader.key(0, 1) == f"{path}#1"
    reader.close()
