import numpy as np
import pytest

from dinotxt.data.readers.label_values import LabelValues
from dinotxt.errors import DataError


def test_values_become_class_numbers_and_others_are_ignored() -> None:
    values = LabelValues((7, 8, 11), (0, 1))
    assert values.decode(np.array([[7, 11, 0, 255, 8]]), "m").tolist() == [[0, 2, 255, 255, 1]]


def test_255_is_ignored_even_where_there_are_more_classes() -> None:
    values = LabelValues(tuple(range(300)))
    assert values.decode(np.array([254, 255, 299]), "m").tolist() == [254, 255, 299]


def test_further_values_are_the_background_even_255() -> None:
    values = LabelValues((9, 4), background=(10, 255))
    assert values.decode(np.array([9, 10, 255, 4]), "m").tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("value", [-1, 9, 70000])
def test_a_value_that_means_nothing_is_named(value: int) -> None:
    with pytest.raises(DataError, match=rf"m has the value {value}: it is none of the 2 values"):
        LabelValues((7, 10), (0,)).decode(np.array([[7, value]]), "m")
    with pytest.raises(DataError, match=rf"{value}: values go from 7 to 8 .* ignored: 0, 255"):
        LabelValues((7, 8), (0,)).decode(np.array([value]), "m")
