import numpy as np
import pytest

from dinotxt.errors import DataError
from dinotxt.metrics.confusion import Confusion


def test_iou_follows_from_the_counts() -> None:
    confusion = Confusion(2)
    confusion.add(np.array([[0, 0, 1, 255]]), np.array([[0, 1, 1, 0]]))
    assert confusion.iou().tolist() == [0.5, 0.5]
    assert confusion.miou() == 0.5
    assert confusion.pixel_accuracy() == pytest.approx(2 / 3)


def test_a_class_that_never_occurs_is_left_out_of_the_mean() -> None:
    confusion = Confusion(3)
    confusion.add(np.array([[0, 0, 1, 1]]), np.array([[0, 0, 1, 2]]))
    assert np.isnan(confusion.iou()[2])
    assert confusion.miou() == pytest.approx((1 + 0.5) / 2)


def test_unlabelled_pixels_count_as_misses() -> None:
    confusion = Confusion(2)
    confusion.add(np.array([[0, 0]], dtype=np.uint8), np.array([[0, 255]], dtype=np.uint8))
    assert confusion.matrix.tolist() == [[1, 0, 1], [0, 0, 0]]
    assert confusion.miou() == 0.5


def test_parts_merge_to_the_whole() -> None:
    rng = np.random.default_rng(0)
    truth, prediction = rng.integers(0, 4, (2, 6, 5))
    whole, left, right = Confusion(4), Confusion(4), Confusion(4)
    whole.add(truth, prediction)
    left.add(truth[:3], prediction[:3])
    right.add(truth[3:], prediction[3:])
    left.merge(right)
    assert np.array_equal(whole.matrix, left.matrix)


@pytest.mark.parametrize("value", [-1, 2, 300])
def test_a_mask_value_that_is_no_class_is_an_error_that_names_it(value: int) -> None:
    with pytest.raises(DataError, match=str(value)):
        Confusion(2).add(np.array([[0, value]]), np.array([[0, 0]]))


def test_sizes_must_agree() -> None:
    with pytest.raises(DataError, match=r"\(1, 2\)"):
        Confusion(2).add(np.zeros((1, 2), dtype=int), np.zeros((2, 2), dtype=int))


def test_an_empty_truth_gives_nan_everywhere() -> None:
    confusion = Confusion(2)
    confusion.add(np.full((2, 2), 255), np.zeros((2, 2), dtype=int))
    assert np.isnan(confusion.miou())
    assert np.isnan(confusion.pixel_accuracy())
