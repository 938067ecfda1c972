"""Draws from keep probabilities: exact in the mean, the same anywhere, in any order."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dinotxt.data.order.curated import (
    KEEP_DTYPE,
    CuratedPairs,
    DrawMode,
    draw,
    pair_id,
    pair_ids,
    record_key,
)
from dinotxt.data.order.sampler import uniforms
from dinotxt.data.readers.record import ImageRef, Pair
from dinotxt.errors import DataError
from dinotxt.files import write_json


def _records(size: int = 20_000) -> NDArray[np.void]:
    generator = np.random.default_rng(0)
    records = np.empty(size, dtype=KEEP_DTYPE)
    records["pair_id"] = np.unique(generator.integers(0, 2**64, size, dtype=np.uint64))
    records["keep_text"] = generator.random(size)
    records["keep_image"] = generator.random(size)
    return records


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    records = _records(1000)
    (tmp_path / "keep").mkdir()
    files = []
    for index, part in enumerate((records[::2], records[1::2])):
        np.save(tmp_path / "keep" / f"{index}.npy", part)
        files.append(f"keep/{index}.npy")
    write_json(tmp_path / "keep" / "stage.json", {"n_in": 1000, "files": files})
    write_json(tmp_path / "keep" / "draw.json", {"seed": 5, "mode": "both"})
    return tmp_path


def test_each_half_of_the_hash_decides_one_balance() -> None:
    records = _records()
    for_text, for_image = uniforms(3, 7, records["pair_id"])
    kept = draw(records, seed=3, epoch=7)
    assert (kept.text == (for_text < records["keep_text"])).all()
    assert (kept.image == (for_image < records["keep_image"])).all()
    assert (kept.both == (kept.text & kept.image)).all()


def test_pairs_are_kept_as_often_as_their_probability() -> None:
    records = _records(200)
    often = np.mean([draw(records, seed=0, epoch=e).both for e in range(400)], axis=0)
    expected = records["keep_text"] * records["keep_image"]
    assert np.abs(often - expected).max() < 0.12
    assert np.abs(often - expected).mean() < 0.02


@pytest.mark.parametrize(("mode", "kept"), [("none", 4), ("text", 2), ("image", 2), ("both", 1)])
def test_the_mode_names_the_balances_that_count(mode: DrawMode, kept: int) -> None:
    records = np.zeros(4, dtype=KEEP_DTYPE)
    records["pair_id"] = np.arange(4)
    records["keep_text"] = [0, 0, 1, 1]
    records["keep_image"] = [0, 1, 0, 1]
    assert draw(records, seed=0, epoch=0, mode=mode).both.sum() == kept


def test_a_part_is_drawn_like_the_whole(folder: Path) -> None:
    curated = CuratedPairs(folder)
    records = _records(1000)
    every = records["pair_id"]
    kept = every[draw(records, seed=5, epoch=2).both]
    shuffled = np.random.default_rng(1).permutation(every)
    assert sorted(shuffled[curated.keeps(shuffled, 2)].tolist()) == sorted(kept.tolist())
    assert curated.keeps(every[:3], 2).tolist() == np.isin(every[:3], kept).tolist()
    assert curated.num_pairs == 1000


def test_a_pair_outside_the_pool_is_not_kept(folder: Path) -> None:
    assert CuratedPairs(folder).keeps([0, 2**64 - 1], 0).tolist() == [False, False]


def test_a_folder_without_a_curation_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no finished curation"):
        CuratedPairs(tmp_path)


def test_the_id_is_a_fixed_hash() -> None:
    assert pair_id("000000001", 0) == 2643067974871498377
    assert pair_id("000000001", 1) != pair_id("000000001", 0)


def test_the_key_of_a_record_in_a_tar_is_that_of_its_member() -> None:
    one = Pair("shard-1/a/b", ImageRef("x/shard-1.tar", 512, 9, "./a/b.jpg"), ("c",))
    two = Pair("shard-7/a/b", ImageRef("y/shard-7.tar", 1024, 9, "a/b.jpg"), ("c",))
    assert record_key(one) == record_key(two) == "a/b"


def test_the_key_of_a_file_is_its_own() -> None:
    assert record_key(Pair("a/b.jpg", ImageRef("/data/a/b.jpg"), ())) == "a/b.jpg"


def test_every_caption_has_an_id() -> None:
    pair = Pair("k", ImageRef("k.jpg"), ("one", "two"))
    (ids,) = pair_ids([pair])
    assert ids.tolist() == [pair_id("k", 0), pair_id("k", 1)]
