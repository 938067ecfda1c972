"""Balancing against the product of its definition and against draws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinotxt.curation.text.balance import (
    entry_probabilities,
    keep_probabilities,
    tail_of_threshold,
    threshold_of_tail,
)
from dinotxt.curation.text.match import Matches
from dinotxt.errors import ConfigError


def _matches(rows: list[list[int]]) -> Matches:
    offsets = np.cumsum([0, *map(len, rows)])
    return Matches(np.array([e for row in rows for e in row], dtype=np.int32), offsets)


def test_an_entry_keeps_t_of_its_captions_on_average() -> None:
    counts = np.array([0, 5, 10, 40], dtype=np.uint64)
    assert entry_probabilities(counts, 10).tolist() == [1, 1, 1, 0.25]


@given(
    st.lists(st.lists(st.integers(0, 4), max_size=4, unique=True), max_size=10),
    st.lists(st.floats(0, 1), min_size=5, max_size=5),
)
def test_keep_probability_is_one_minus_the_product(
    rows: list[list[int]], probabilities: list[float]
) -> None:
    expected = [
        1 - np.prod([1 - probabilities[entry] for entry in row]) if row else 0.0 for row in rows
    ]
    keep = keep_probabilities(_matches(rows), np.array(probabilities))
    np.testing.assert_allclose(keep, np.array(expected), atol=1e-12)


def test_draws_keep_each_entry_at_least_about_t_times() -> None:
    generator = np.random.default_rng(0)
    rows = [[0] if number % 2 else [0, 1] for number in range(4000)]
    matches = _matches(rows)
    keep = keep_probabilities(matches, entry_probabilities(matches.counts(2), 500))
    kept = generator.random(4000) < keep
    with_second = kept[::2].sum()
    assert 500 <= with_second < 500 + 500 * 0.25 + 120
    assert keep[1] == pytest.approx(500 / 4000)


def test_threshold_is_where_the_tail_holds_its_share() -> None:
    counts = np.array([1, 1, 2, 6, 90, 0], dtype=np.uint64)
    assert threshold_of_tail(counts, 0.06) == 6
    assert tail_of_threshold(counts, 6) == pytest.approx(0.04)
    assert threshold_of_tail(counts, 1.0) == 90


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=50), st.floats(0.01, 1))
def test_entries_below_the_threshold_hold_no_more_than_the_share(
    counts: list[int], share: float
) -> None:
    array = np.array(counts, dtype=np.uint64)
    assert tail_of_threshold(array, threshold_of_tail(array, share)) <= share + 1e-12


def test_no_match_at_all_leaves_no_threshold_to_choose() -> None:
    with pytest.raises(ConfigError, match=r"text\.threshold"):
        threshold_of_tail(np.zeros(3, dtype=np.uint64), 0.06)
    assert tail_of_threshold(np.zeros(3, dtype=np.uint64), 5) == 0.0
