import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dinotxt.data.order.counter import uniform, uniforms

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
