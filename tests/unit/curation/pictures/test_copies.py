"""Copies of pictures over the whole pool: the first is embedded, the others share its vector."""

from pathlib import Path

import numpy as np
import pytest
from tests.unit.curation.conftest import picture, write_shard

from dinotxt.config import load_config
from dinotxt.curation.config import CurationConfig
from dinotxt.curation.engine import InProcess
from dinotxt.curation.pictures import copies as distinct
from dinotxt.curation.pictures.copies import copies_of, find_copies, forget_copies, read_pictures
from dinotxt.curation.pool.pairs import collect_pairs, table_paths


def _tables(tmp_path: Path) -> list[Path]:
    """Three tables; pictures 0 and 1 come again in later ones, and 0 within the first."""
    contents = {"a": (0, 1, 0), "b": (2, 1), "c": (0, 3, 2)}
    for name, seeds in contents.items():
        records = {f"{name}{i}": (picture(s), ["a dog", "a cat"]) for i, s in enumerate(seeds)}
        write_shard(tmp_path / f"{name}.tar", records)
    config = load_config(
        CurationConfig, {"input": str(tmp_path / "*.tar"), "output": tmp_path / "out"}
    )
    return table_paths(tmp_path / "out", collect_pairs(config, InProcess()))


@pytest.mark.parametrize("part", [8_000_000, 3, 1])
def test_copies_point_to_the_first_of_the_pool_however_the_search_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    monkeypatch.setattr(distinct, "_PICTURES_A_PART", part)
    tables = _tables(tmp_path)
    find_copies(tmp_path / "work", tables, InProcess())
    found = [sorted(copies_of(tmp_path / "work", n).tolist()) for n in range(3)]
    assert found == [[[2, 0, 0]], [[1, 0, 1]], [[0, 0, 0], [2, 1, 0]]]


def test_an_unreadable_picture_is_no_copy(tmp_path: Path) -> None:
    tables = _tables(tmp_path)
    (tmp_path / "c.tar").write_bytes(b"")
    find_copies(tmp_path / "work", tables, InProcess())
    assert copies_of(tmp_path / "work", 2).shape == (0, 3)


def test_a_table_that_changed_is_digested_again(tmp_path: Path) -> None:
    tables = _tables(tmp_path)
    find_copies(tmp_path / "work", tables, InProcess())
    tables[0].write_bytes(tables[2].read_bytes())
    find_copies(tmp_path / "work", tables, InProcess())
    assert len(copies_of(tmp_path / "work", 2)) == 3
    forget_copies(tmp_path / "work")
    assert not any((tmp_path / "work").rglob("*.npy"))


def test_pictures_of_a_table_come_once_in_the_order_of_their_pairs(tmp_path: Path) -> None:
    pictures = read_pictures(_tables(tmp_path)[1])
    assert [ref.member for ref in pictures.refs] == ["b0.png", "b1.png"]
    assert np.array_equal(pictures.of_pair, [0, 0, 1, 1])
