import numpy as np
import pytest

from dinotxt.data.streaming.order import StreamConfig, StreamSampler
from dinotxt.errors import ConfigError

COUNTS = (7, 1, 12, 5, 9, 30, 3, 11, 8, 14)


def sampler(seed: int = 3, *, batch: int = 8, lanes: int = 4, window: int = 2) -> StreamSampler:
    return StreamSampler(COUNTS, batch, seed, lanes=lanes, window=window)


@pytest.mark.parametrize("lanes", [1, 2, 4])
@pytest.mark.parametrize("window", [1, 3, 50])
def test_an_epoch_shows_each_sample_at_most_once(lanes: int, window: int) -> None:
    made = sampler(lanes=lanes, window=window)
    steps = range(made.steps_per_epoch, 2 * made.steps_per_epoch)
    shown = np.concatenate([made.indices(step) for step in steps])
    assert {made.epoch(step) for step in steps} == {1}
    assert len(shown) == len(set(shown.tolist())) == made.steps_per_epoch * 8
    assert shown.min() >= 0
    assert shown.max() < made.num_items == sum(COUNTS)
    assert made.num_items - len(shown) < 8 + lanes


def test_the_order_is_a_function_of_seed_and_step_whatever_was_asked_before() -> None:
    forward = [sampler().indices(step) for step in range(40)]
    one = sampler()
    backward = [one.indices(step) for step in reversed(range(40))][::-1]
    np.testing.assert_array_equal(forward, backward)
    assert not np.array_equal(forward[0], sampler(seed=4).indices(0))
    assert not np.array_equal(forward[0], forward[one.steps_per_epoch])


def test_every_sample_comes_up_over_the_epochs() -> None:
    made = sampler()
    shown = np.concatenate([made.indices(step) for step in range(6 * made.steps_per_epoch)])
    assert set(shown.tolist()) == set(range(made.num_items))


def test_a_process_reads_the_shards_of_its_own_lanes() -> None:
    made = StreamSampler([10] * 16, 8, 0, lanes=4, window=1)
    steps = range(made.steps_per_epoch)
    shards = [
        {
            made.locate(item)[0]
            for step in steps
            for item in made.indices(step)[2 * rank : 2 * rank + 2]
        }
        for rank in range(4)
    ]
    assert all(len(own) == 4 for own in shards)
    assert set.union(*shards) == set(range(16))


def test_few_shards_are_in_use_at_a_time() -> None:
    made = StreamSampler([10] * 32, 8, 0, lanes=2, window=2)
    for step in range(made.steps_per_epoch):
        assert len({made.locate(item)[0] for item in made.indices(step).tolist()}) <= 6


def test_the_samples_of_a_window_are_mixed() -> None:
    made = StreamSampler([100] * 4, 100, 0, lanes=1, window=4)
    rows = np.array([made.locate(item) for item in made.indices(0).tolist()])
    assert len(set(rows[:, 0].tolist())) == 4
    assert (np.diff(rows[:, 1]) < 0).any()


def test_the_shards_ahead_are_those_of_the_next_window() -> None:
    made = StreamSampler([10] * 16, 4, 0, lanes=2, window=2)
    used = [{made.locate(item)[0] for item in made.indices(step)[:2]} for step in range(40)]
    begin = made.shards_ahead(0, slice(0, 2))
    assert set(begin) == used[10] | used[11] | used[12]
    assert made.shards_ahead(made.steps_per_epoch - 1, slice(0, 4)) == []
    assert set(made.shards_ahead(0, slice(0, 4))) > set(begin)


@pytest.mark.parametrize(
    ("batch", "message"), [(6, "multiple of data.stream.lanes"), (200, "lower batch_size")]
)
def test_a_batch_that_does_not_fit_is_refused(batch: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        sampler(batch=batch)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="lanes"):
        StreamConfig(lanes=0)
