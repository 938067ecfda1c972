import math
from itertools import pairwise

from dinotxt.training.update.schedule import learning_rate_factor


def test_warm_up_rises_to_the_peak_and_the_cosine_falls_to_zero() -> None:
    factors = [learning_rate_factor(step, steps=20, warmup_steps=4) for step in range(20)]
    assert factors[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert factors[12] == 0.5
    assert all(a > b for a, b in pairwise(factors[4:]))
    assert math.isclose(factors[19], 0.5 * (1 + math.cos(math.pi * 15 / 16)))


def test_a_run_without_warm_up_starts_at_the_peak() -> None:
    assert learning_rate_factor(0, steps=10, warmup_steps=0) == 1.0
    assert learning_rate_factor(10, steps=10, warmup_steps=0) == 0.0


def test_a_run_shorter_than_its_warm_up_only_rises() -> None:
    assert [learning_rate_factor(step, steps=3, warmup_steps=10) for step in range(3)] == [
        0.1,
        0.2,
        0.3,
    ]
