import numpy as np
import pytest
from PIL import Image

from dinotxt.evaluation.analysis.labelling import Columns, best_labels, close_seconds
from dinotxt.inference.dense.scores import GridScores

_SCORES = GridScores(np.array([[[0.9, 0.89, 0.1], [0.9, 0.3, 0.1]]], dtype=np.float32))


def test_the_true_label_is_a_close_second_at_odds_below_two_to_one() -> None:
    truth = np.array([[1, 1], [1, 1]])
    assert close_seconds(_SCORES, truth, 20.0).tolist() == [[True, False], [True, False]]
    assert not close_seconds(_SCORES, truth, 100.0).any()


@pytest.mark.parametrize("label", [0, 2, 255])
def test_the_best_the_third_and_no_label_are_no_second(label: int) -> None:
    assert not close_seconds(_SCORES, np.full((1, 2), label), 20.0).any()


def test_columns_are_some_of_the_texts() -> None:
    picture = Image.new("RGB", (2, 1))
    assert best_labels(_SCORES, picture).tolist() == [[0, 0]]
    part = Columns(_SCORES, 1, 3)
    assert part.num_texts == 2
    assert best_labels(part, picture).tolist() == [[0, 0]]
    assert best_labels(Columns(_SCORES, 2, 3), picture).tolist() == [[0, 0]]
