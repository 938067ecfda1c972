import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinotxt.data.order.sampler import EpochSampler, caption_index, view_index
from dinotxt.errors import ConfigError


@given(
    num_items=st.integers(1, 60),
    batch=st.integers(1, 60),
    seed=st.integers(0, 5),
    epoch=st.integers(0, 3),
)
def test_epoch_shows_no_item_twice(num_items: int, batch: int, seed: int, epoch: int) -> None:
    batch = min(batch, num_items)
    sampler = EpochSampler(num_items, batch, seed)
    first = epoch * sampler.steps_per_epoch
    steps = range(first, first + sampler.steps_per_epoch)
    seen = np.concatenate([sampler.indices(step) for step in steps])
    assert {sampler.epoch(step) for step in steps} == {epoch}
    assert len(np.unique(seen)) == len(seen) == (num_items // batch) * batch
    assert seen.min() >= 0
    assert seen.max() < num_items


def test_order_depends_on_seed_and_step_alone() -> None:
    sampler = EpochSampler(20, 6, 7)
    forward = [sampler.indices(step).tolist() for step in range(9)]
    fresh = EpochSampler(20, 6, 7)
    backward = [fresh.indices(step).tolist() for step in reversed(range(9))][::-1]
    assert forward == backward
    assert EpochSampler(20, 6, 8).indices(0).tolist() != forward[0]
    assert set(np.concatenate(forward[:3])) != set(np.concatenate(forward[3:6]))


@pytest.mark.parametrize("num_ranks", [1, 2, 4])
def test_ranks_share_a_batch_without_gap_or_overlap(num_ranks: int) -> None:
    sampler = EpochSampler(50, 12, 0)
    parts = [sampler.indices(5, rank=rank, num_ranks=num_ranks) for rank in range(num_ranks)]
    assert np.concatenate(parts).tolist() == sampler.indices(5).tolist()


def test_result_may_be_changed_without_harm() -> None:
    sampler = EpochSampler(10, 5, 0)
    before = sampler.indices(0).tolist()
    sampler.indices(0)[:] = 0
    assert sampler.indices(0).tolist() == before


def test_too_few_items_and_uneven_ranks_are_refused() -> None:
    with pytest.raises(ConfigError, match="batch_size is 5 but there are 4 items"):
        EpochSampler(4, 5, 0)
    with pytest.raises(ConfigError, match="multiple of 4"):
        EpochSampler(10, 6, 0).indices(0, num_ranks=4)


def test_captions_are_drawn_within_their_counts_and_anew_each_epoch() -> None:
    ids, counts = np.arange(5000), np.tile([1, 2, 5, 5, 3], 1000)
    first, second = caption_index(0, 0, ids, counts), caption_index(0, 1, ids, counts)
    assert first.dtype == np.int64
    assert ((first >= 0) & (first < counts)).all()
    assert (first != second).any()
    share = np.bincount(first[counts == 5], minlength=5) / 2000
    assert np.abs(share - 0.2).max() < 0.04


def test_views_are_drawn_apart_from_captions() -> None:
    ids = np.arange(4000)
    views = view_index(0, 0, ids, 4)
    assert set(views.tolist()) == {0, 1, 2, 3}
    captions = caption_index(0, 0, ids, np.full(4000, 4))
    assert 0.2 < np.mean(views == captions) < 0.3
