"""Batches of curated captions."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dinotxt.data.order.curated import KEEP_DTYPE, CuratedPairs, pair_id
from dinotxt.data.order.curated_sampler import CuratedSampler
from dinotxt.errors import DataError
from dinotxt.files import write_json


@pytest.fixture
def ids() -> list[NDArray[np.uint64]]:
    return [
        np.array([pair_id(f"{item}", n) for n in range(1 + item % 3)], dtype=np.uint64)
        for item in range(40)
    ]


@pytest.fixture
def curated(tmp_path: Path, ids: list[NDArray[np.uint64]]) -> CuratedPairs:
    flat = np.sort(np.concatenate(ids[:30]))  # the pool lacks the last ten
    records = np.ones(len(flat), dtype=KEEP_DTYPE)
    records["pair_id"] = flat
    records["keep_text"] = 0.5
    folder = tmp_path / "keep"
    folder.mkdir()
    np.save(folder / "a.npy", records)
    write_json(folder / "stage.json", {"n_in": len(flat), "files": ["keep/a.npy"]})
    write_json(folder / "draw.json", {"seed": 3, "mode": "both"})
    write_json(folder / "inputs.json", {})
    return CuratedPairs(tmp_path)


def test_an_epoch_shows_each_kept_caption_at_most_once(
    ids: list[NDArray[np.uint64]], curated: CuratedPairs
) -> None:
    sampler = CuratedSampler(ids, curated, 4, seed=0)
    flat = np.concatenate(ids)
    steps = [step for step in range(60) if sampler.epoch(step) == 1]
    shown = np.concatenate([sampler.captions(step) for step in steps])
    kept = np.sort(flat[curated.keeps(flat, 1)])
    assert len(steps) == len(kept) // 4
    assert len(set(shown.tolist())) == len(shown)
    assert set(flat[shown].tolist()) <= set(kept.tolist())


def test_an_item_is_the_owner_of_its_caption(
    ids: list[NDArray[np.uint64]], curated: CuratedPairs
) -> None:
    sampler = CuratedSampler(ids, curated, 4, seed=0)
    flat = np.concatenate(ids)
    for step in (0, 7, 30):
        for item, caption in zip(sampler.indices(step), sampler.captions(step), strict=True):
            assert flat[caption] in ids[item]


def test_a_step_needs_no_steps_before_it(
    ids: list[NDArray[np.uint64]], curated: CuratedPairs
) -> None:
    through = CuratedSampler(ids, curated, 4, seed=0)
    straight = CuratedSampler(ids, curated, 4, seed=0)
    for step in range(40):
        through.captions(step)
    assert straight.captions(39).tolist() == through.captions(39).tolist()
    assert straight.epoch(39) == through.epoch(39) > 1


def test_another_curation_is_refused(ids: list[NDArray[np.uint64]], curated: CuratedPairs) -> None:
    with pytest.raises(DataError, match="curation of other pairs"):
        CuratedSampler(ids[30:], curated, 4, seed=0)


def test_a_batch_larger_than_an_epoch_is_an_error(
    ids: list[NDArray[np.uint64]], curated: CuratedPairs
) -> None:
    with pytest.raises(DataError, match="lower batch_size"):
        CuratedSampler(ids, curated, 60, seed=0).epoch(0)


def test_the_fingerprint_knows_seed_and_mode(curated: CuratedPairs) -> None:
    before = curated.fingerprint
    write_json(curated.folder / "keep" / "draw.json", {"seed": 3, "mode": "text"})
    assert CuratedPairs(curated.folder).fingerprint != before
