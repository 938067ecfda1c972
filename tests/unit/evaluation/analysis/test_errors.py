import numpy as np
import pytest

from dinotxt.evaluation.analysis.errors import Leak, context_leaks, context_of, leak_rows

# Pixels of wall, bath and bed in two bathrooms and two bedrooms.
_TRUTHS = np.array([[60, 40, 0], [70, 30, 0], [10, 0, 90], [20, 0, 80]])
_WRONG = np.array([[0, 30, 0], [0, 30, 0], [0, 0, 0], [0, 20, 0]])


def test_the_context_is_the_largest_other_class() -> None:
    assert context_of(_TRUTHS, 1).tolist() == [0, 0, 2, 2]
    assert context_of(_TRUTHS, 0).tolist() == [1, 1, 2, 2]
    assert context_of(np.array([[5, 0, 0]]), 0).tolist() == [-1]


def test_a_label_that_a_context_suggests_has_a_lift_above_one() -> None:
    leaks = context_leaks(_TRUTHS, _WRONG)
    assert [(leak.label, leak.context) for leak in leaks] == [(1, 0), (1, 2)]
    rate = 80 / (60 + 70 + 100 + 100)
    assert leaks[0].lift == pytest.approx(60 / 130 / rate)
    assert leaks[1].lift == pytest.approx(20 / 200 / rate)
    assert (leaks[0].pictures, leaks[0].pixels) == (2, 60)


def test_one_picture_is_no_tendency() -> None:
    assert context_leaks(_TRUTHS[:1], _WRONG[:1]) == []


def test_rows_carry_names() -> None:
    assert leak_rows([Leak(0, 1, 1.23456, 3, 9)], ["a", "b"]) == [
        {"label": "a", "context": "b", "lift": 1.2346, "pictures": 3, "pixels": 9}
    ]
