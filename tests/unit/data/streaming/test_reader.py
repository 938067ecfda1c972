import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from dinotxt.data.streaming.cache import ShardCache
from dinotxt.data.streaming.index import ShardIndex
from dinotxt.data.streaming.reader import ShardReader
from dinotxt.data.streaming.remote import Remote
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


def test_the_rows_of_a_torn_parquet_shard_are_errors_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    columns = {"jpg": [b"x" * 5000, b"y" * 5000], "caption": ["a", "b"]}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    path.write_bytes(path.read_bytes()[:-9])
    reader = reader_of(path, 2)
    reader.open_shard(0)
    with pytest.raises(DataError, match=r"has 0 of 2 samples: .*is not a readable Parquet file"):
        reader.pair(0, 1)
    assert reader.key(0, 1) == f"{path}#1"
    reader.close()


@pytest.mark.parametrize("column", ["jpg", "caption"])
def test_a_damaged_page_of_parquet_loses_no_more_than_its_row_group(
    tmp_path: Path, column: str
) -> None:
    path = tmp_path / "a.parquet"
    columns = {
        "jpg": [bytes([n]) * 500 for n in range(9)],
        "caption": [f"number {n}" for n in range(9)],
        "key": [f"k{n}" for n in range(9)],
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=3)
    damage_page(path, group=1, column=list(columns).index(column))
    reader = reader_of(path, 9)
    for row in (0, 1, 2, 6, 7, 8):
        image, captions = reader.pair(0, row)
        assert (image.read(), captions) == (bytes([row]) * 500, (f"number {row}",))
        assert reader.key(0, row) == f"{path}::{row:08d}-k{row}"
    for row in (3, 4, 5):
        with pytest.raises(DataError, match=r"^row group 1 of the Parquet file is damaged \("):
            reader.pair(0, row)
        assert reader.key(0, row) == f"{path}::{row:08d}"
    reader.close()


def test_a_changed_byte_in_a_page_with_a_checksum_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pyarrow.table({"jpg": [b"x" * 50] * 4, "caption": ["a big dog"] * 4})
    plain = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    pyarrow.parquet.write_table(table, path, row_group_size=2, write_page_checksum=True, **plain)
    first, cut, rest = path.read_bytes().partition(b"a big dog")
    path.write_bytes(first + cut.replace(b"dog", b"cat") + rest)
    reader = reader_of(path, 4)
    with pytest.raises(DataError, match=r"row group 0 .*is damaged \(.*CRC"):
        reader.pair(0, 0)
    assert reader.pair(0, 2)[1] == ("a big dog",)
    reader.close()


def test_a_caption_that_is_no_utf8_costs_its_row_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pyarrow.table({"jpg": [b"x"] * 3, "caption": ["one", "two", "three"]})
    pyarrow.parquet.write_table(table, path, compression="none", use_dictionary=False)
    path.write_bytes(path.read_bytes().replace(b"two", b"t\xffo"))
    reader = reader_of(path, 3)
    with pytest.raises(DataError, match="not valid UTF-8"):
        reader.pair(0, 1)
    assert [reader.pair(0, row)[1] for row in (0, 2)] == [("one",), ("three",)]
    reader.close()


def reader_of(path: Path, count: int) -> ShardReader:
    cache = ShardCache(path.parent / "copies", max_bytes=1 << 20, remote=Remote(retries=0))
    return ShardReader(ShardIndex((str(path),), (count,)), cache, num_open=1)


def damage_page(path: Path, *, group: int, column: int) -> None:
    """Write zeros over the first page of a column of a row group."""
    chunk = pyarrow.parquet.read_metadata(path).row_group(group).column(column)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content = path.read_bytes()
    end = start + chunk.total_compressed_size
    path.write_bytes(content[:start] + bytes(end - start) + content[end:])
