import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinotxt.data.order.sampler import EpochSampler, caption_index, uniform, uniforms, view_index
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


def test_result_may_be_changed_without_harm() -> None:
    sampler = EpochSampler(10, 5, 0)
    before = sampler.indices(0).tolist()
    sampler.indices(0)[:] = 0
    assert sampler.indices(0).tolist() == before


def test_too_few_items_are_refused() -> None:
    with pytest.raises(ConfigError, match="batch_size is 5 but there are 4 items"):
        EpochSampler(4, 5, 0)


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


MASK = (1 << 64) - 1


def _mix(state: int) -> int:
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


def _reference(seed: int, epoch: int, item: int, stream: int) -> int:
    """Plain splitmix64: mix the key, then the state after ``item + 1`` steps."""
    key = 0
    for part in (seed, epoch, stream):
        key = _mix((key + 0x9E3779B97F4A7C15 + part) & MASK)
    return _mix((key + 0x9E3779B97F4A7C15 * (item + 1)) & MASK)


@given(
    seed=st.integers(0, 2**63),
    epoch=st.integers(0, 2**31),
    ids=st.lists(st.integers(0, MASK), max_size=5),
    stream=st.integers(0, 5),
)
def test_draws_equal_plain_splitmix(seed: int, epoch: int, ids: list[int], stream: int) -> None:
    numbers = np.array(ids, dtype=np.uint64)
    expected = [(_reference(seed, epoch, item, stream) >> 11) * 2.0**-53 for item in ids]
    assert uniform(seed, epoch, numbers, stream).tolist() == expected


def test_two_uniforms_are_the_halves_of_one_hash() -> None:
    text, image = uniforms(3, 4, np.arange(4))
    bits = [_reference(3, 4, item, 0) for item in range(4)]
    assert text.tolist() == [(b >> 32) * 2.0**-32 for b in bits]
    assert image.tolist() == [(b & 0xFFFFFFFF) * 2.0**-32 for b in bits]


def test_draw_of_an_item_does_not_depend_on_the_others_or_the_shape() -> None:
    ids = np.arange(70_000)
    whole = uniform(0, 0, ids)
    assert uniform(0, 0, ids[40_000:40_003]).tolist() == whole[40_000:40_003].tolist()
    assert uniform(0, 0, ids.reshape(2, -1)).tolist() == whole.reshape(2, -1).tolist()
    assert float(uniform(0, 0, 7)) == whole[7]


def test_ids_are_left_as_they_are() -> None:
    ids = np.arange(10, dtype=np.uint64)
    uniforms(0, 0, ids)
    assert ids.tolist() == list(range(10))


def test_draws_are_uniform_and_epochs_seeds_streams_and_halves_independent() -> None:
    ids = np.arange(100_000)
    draws = [uniform(0, 0, ids), uniform(0, 1, ids), uniform(1, 0, ids), uniform(0, 0, ids, 1)]
    draws += list(uniforms(5, 5, ids))
    for draw in draws:
        assert draw.min() >= 0
        assert draw.max() < 1
        counts = np.histogram(draw, bins=20, range=(0, 1))[0]
        assert np.abs(counts - 5000).max() < 400
    correlation = np.corrcoef(draws) - np.eye(len(draws))
    assert np.abs(correlation).max() < 0.02
