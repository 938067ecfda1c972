import numpy as np
import pytest

from dinotxt.evaluation.analysis.regions import centre_labels, region_means


def test_a_region_has_the_mean_of_its_pixels() -> None:
    features = np.arange(4, dtype=np.float32).reshape(1, 4, 1)
    truth = np.array([[0, 0, 0, 1, 1, 1, 255, 255]])
    classes, means = region_means(features, truth)
    assert classes.tolist() == [0, 1]
    assert means[:, 0].tolist() == pytest.approx([1 / 3, 5 / 3])


def test_cells_have_the_label_of_their_middle() -> None:
    truth = np.repeat(np.array([[0, 0, 0, 1, 2, 2]]), 3, axis=0)
    assert centre_labels(truth, 1, 2).tolist() == [[0, 2]]
