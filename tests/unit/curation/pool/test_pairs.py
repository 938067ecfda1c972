"""The pool: ids, bad input, changes."""

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.curation.conftest import add_file, picture, shard_records, write_shard

from dinotxt.config import load_config
from dinotxt.curation.config import CurationConfig
from dinotxt.curation.engine import InProcess
from dinotxt.curation.pool import repeated_ids as duplicates
from dinotxt.curation.pool.files import read_table, write_table
from dinotxt.curation.pool.pairs import collect_pairs, table_paths
from dinotxt.curation.pool.sources import table_records
from dinotxt.curation.stage import StageReport
from dinotxt.data.order.curated import pair_id, pair_ids
from dinotxt.data.readers.pairs import read_pairs
from dinotxt.errors import ConfigError, DataError


def _collect(tmp_path: Path, data: Any, **changes: Any) -> StageReport:
    config = load_config(
        CurationConfig, {"input": data, "output": tmp_path / "out", "workers": 1, **changes}
    )
    return collect_pairs(config, InProcess())


def _column(tmp_path: Path, report: StageReport, name: str) -> list[Any]:
    paths = table_paths(tmp_path / "out", report)
    return [value for path in paths for value in read_table(path)[name].to_pylist()]


def test_ids_are_those_that_training_computes(tmp_path: Path, pool: Path) -> None:
    report = _collect(tmp_path, str(pool))
    expected = [int(one) for ids in pair_ids(read_pairs(pool)) for one in ids]
    assert _column(tmp_path, report, "pair_id") == expected
    assert report.n_in == report.n_out == 72
    assert report.details["num_pictures"] == 36


def test_ids_do_not_depend_on_shards(tmp_path: Path, pool: Path) -> None:
    before = sorted(_column(tmp_path, _collect(tmp_path, str(pool)), "pair_id"))
    other = tmp_path / "other"
    other.mkdir()
    records = {key: value for shard in (2, 0, 1) for key, value in shard_records(shard).items()}
    write_shard(other / "all.tar", records)
    report = _collect(tmp_path, str(other), output=tmp_path / "out" / "two")
    paths = table_paths(tmp_path / "out" / "two", report)
    after = [one for path in paths for one in read_table(path)["pair_id"].to_pylist()]
    assert sorted(after) == before


def test_large_sources_are_cut_into_tables(
    tmp_path: Path, pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dinotxt.curation.pool.sources._FEWEST", 5)
    report = _collect(tmp_path, str(pool))
    names = [Path(file).name for file in report.files]
    assert names[:4] == ["00000.parquet", "00000-00001.parquet", "00000-00002.parquet",
                         "00001.parquet"]  # fmt: skip
    assert len(_column(tmp_path, report, "caption")) == 72


def test_bad_captions_are_dropped_with_their_reason(tmp_path: Path) -> None:
    captions = ["a dog", "a dog", " ", "", "x" * 200, "bad \ud800 half"]
    write_shard(tmp_path / "a.tar", {"1": (picture(1), captions), "2": (picture(2), [" "])})
    report = _collect(tmp_path, str(tmp_path / "a.tar"), match={"max_characters": 100})
    assert _column(tmp_path, report, "caption") == ["a dog"]
    assert report.reasons == {
        "duplicate caption of its picture": 1,
        "empty or no caption": 1,
        "longer than 100 characters": 1,
        "not valid Unicode": 1,
    }
    assert report.n_in - report.n_out == sum(report.reasons.values())


def test_invalid_utf8_is_a_reason_and_the_run_stays_complete(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add_file(tar, "1.png", picture(1))
        add_file(tar, "1.txt", b"caf\xe9")
        add_file(tar, "2.png", picture(2))
        add_file(tar, "2.txt", "café".encode())
    report = _collect(tmp_path, str(tmp_path / "a.tar"))
    assert report.reasons == {"not valid UTF-8": 1}
    assert report.complete
    assert "UTF-8" in report.skipped[0].reason


def test_an_id_that_comes_again_is_dropped_where_it_comes_later(tmp_path: Path, pool: Path) -> None:
    first = dict(list(shard_records(0).items())[:4])
    write_shard(pool / "00003.tar", {**shard_records(3, 2), **first})
    report = _collect(tmp_path, str(pool))
    assert report.reasons == {"duplicate id": 8}
    assert report.n_out == 76
    ids = _column(tmp_path, report, "pair_id")
    assert len(set(ids)) == len(ids) == 76


@pytest.mark.parametrize(
    ("pool_size", "records"),
    [(50, 1_000), (6_000, 1_000), (200_000, 3_125), (2_300_000_000, 10_000)],
)
def test_small_pools_make_small_tables_so_that_workers_share_them(
    pool_size: int, records: int
) -> None:
    assert table_records(pool_size) == records


@pytest.mark.parametrize("pairs_a_part", [1, 7, 1000])
def test_the_first_of_a_repeated_id_is_kept_however_the_search_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pairs_a_part: int
) -> None:
    monkeypatch.setattr(duplicates, "_PAIRS_A_PART", pairs_a_part)
    ids = np.random.default_rng(0).integers(0, 2**64, 12, dtype=np.uint64)
    rows = [("a", [0, 1, 2, 1]), ("b", [3, 0, 4]), ("c", [5, 3, 3, 0, 6])]
    for name, places in rows:
        labels = [f"{name}{row}" for row in range(len(places))]
        write_table(tmp_path / f"{name}.parquet", {"pair_id": ids[places], "label": labels})
    left = duplicates.drop_duplicates(tmp_path, ["a", "b", "c"], 12, InProcess())
    tables = [read_table(tmp_path / f"{name}.parquet") for name, _ in rows]
    labels = [label for table in tables for label in table["label"].to_pylist()]
    assert labels == ["a0", "a1", "a2", "b0", "b2", "c0", "c4"]
    assert left == 7
    assert not (tmp_path / "ids").exists()


def test_a_folder_without_pairs_leaves_nothing_that_would_refuse_them_later(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    folder.mkdir()
    (folder / "notes.md").write_text("not here yet")
    with pytest.raises(DataError, match="no usable pair"):
        _collect(tmp_path, str(folder))
    write_shard(folder / "00000.tar", shard_records(0, 2))
    assert _collect(tmp_path, str(folder)).complete


def test_a_row_without_a_path_has_a_reason(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture(1))
    (tmp_path / "pairs.csv").write_text("path,caption\na.png,a dog\n,no picture\n")
    report = _collect(tmp_path, str(tmp_path / "pairs.csv"))
    assert report.reasons == {"missing id": 1}
    assert _column(tmp_path, report, "pair_id") == [pair_id("a.png", 0)]


def test_a_torn_shard_is_named_and_the_others_are_done(tmp_path: Path, pool: Path) -> None:
    torn = pool / "00001.tar"
    torn.write_bytes(torn.read_bytes()[:4000])
    report = _collect(tmp_path, str(pool))
    assert not report.complete
    assert str(torn) in [skip.path for skip in report.skipped]
    assert report.n_out >= 48


def test_a_missing_shard_is_named_and_may_come_later(tmp_path: Path, pool: Path) -> None:
    last = pool / "00002.tar"
    content = last.read_bytes()
    last.unlink()
    data = str(pool / "{00000..00002}.tar")
    report = _collect(tmp_path, data)
    assert not report.complete
    assert [skip.path for skip in report.skipped] == [str(last)]
    assert report.n_out == 48
    last.write_bytes(content)
    report = _collect(tmp_path, data)
    assert report.complete
    assert report.n_out == 72


def test_a_torn_shard_that_was_mended_is_read_again(tmp_path: Path, pool: Path) -> None:
    torn = pool / "00001.tar"
    content = torn.read_bytes()
    torn.write_bytes(content[:4000])
    _collect(tmp_path, str(pool))
    torn.write_bytes(content)
    report = _collect(tmp_path, str(pool))
    assert report.complete
    assert report.n_out == 72


def test_a_changed_shard_is_refused(tmp_path: Path, pool: Path) -> None:
    _collect(tmp_path, str(pool))
    write_shard(pool / "00001.tar", shard_records(7))
    with pytest.raises(ConfigError, match=r"00001\.tar changed"):
        _collect(tmp_path, str(pool))


def test_a_new_or_lost_shard_is_refused_with_the_difference(tmp_path: Path, pool: Path) -> None:
    _collect(tmp_path, str(pool))
    write_shard(pool / "00003.tar", shard_records(3))
    with pytest.raises(ConfigError, match=r"00003: \(absent\) -> .*00003\.tar"):
        _collect(tmp_path, str(pool))
    (pool / "00003.tar").unlink()
    (pool / "00000.tar").unlink()
    with pytest.raises(ConfigError, match="00000"):
        _collect(tmp_path, str(pool))


def test_another_input_under_an_output_is_refused(tmp_path: Path, pool: Path) -> None:
    _collect(tmp_path, str(pool))
    with pytest.raises(ConfigError, match="other inputs"):
        _collect(tmp_path, [str(pool / "00000.tar")])


def test_nothing_to_curate_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to curate"):
        _collect(tmp_path, str(tmp_path / "nowhere.tar"))


def test_an_img2dataset_folder_reads_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "cc3m"
    folder.mkdir()
    with tarfile.open(folder / "00000.tar", "w") as tar:
        for number in range(3):
            key = f"{number:09d}"
            add_file(tar, f"{key}.jpg", picture(number))
            add_file(tar, f"{key}.txt", f"a dog {number}".encode())
            content = {"caption": f"a dog {number}", "url": "x", "key": key, "status": "success"}
            add_file(tar, f"{key}.json", json.dumps(content).encode())
    (folder / "00000.parquet").write_bytes(b"a table that is not needed")
    (folder / "00000_stats.json").write_text("{}")
    report = _collect(tmp_path, str(folder))
    assert report.complete
    assert _column(tmp_path, report, "key") == ["000000000", "000000001", "000000002"]
