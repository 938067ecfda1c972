import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dinotxt.metrics.topk import target_ranks, topk_accuracy


def test_rank_counts_the_classes_that_score_higher() -> None:
    scores = np.array([[0.1, 0.9, 0.5], [0.3, 0.2, 0.1]])
    ranks = target_ranks(scores, np.array([2, 0]))
    assert ranks.tolist() == [1, 0]
    assert topk_accuracy(ranks, 1) == 0.5
    assert topk_accuracy(ranks, 2) == 1.0


def test_equal_scores_are_right_as_often_as_chance() -> None:
    ranks = target_ranks(np.zeros((10, 10)), np.arange(10))
    assert topk_accuracy(ranks, 1) == 0.1
    assert topk_accuracy(ranks, 5) == 0.5


@given(st.integers(0, 2**32 - 1))
def test_rank_equals_the_place_in_a_stable_sort(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (6, 8)).astype(np.float32)
    targets = rng.integers(0, 8, 6)
    order = np.argsort(-scores, axis=1, kind="stable")
    expected = [int(np.flatnonzero(order[i] == targets[i])[0]) for i in range(6)]
    assert target_ranks(scores, targets).tolist() == expected
