from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dinotxt.data.pictures.transform import Picture
from dinotxt.evaluation.analysis.labelling import labeller
from dinotxt.evaluation.analysis.regions import centre_labels, dense_features, region_means
from dinotxt.evaluation.job import Job
from dinotxt.inference.dense.highres import HighRes
from dinotxt.inference.dense.scores import Mode
from dinotxt.inference.dense.window import SlidingWindow, Whole


@pytest.mark.parametrize(
    "mode", [Whole(32), SlidingWindow(32, 16), HighRes(crops=12, crop_size=16, grid_stride=4)]
)
def test_dense_features_lie_where_the_picture_has_them(
    make_masks: Callable[..., Path], make_job: Callable[..., Job], mode: Mode
) -> None:
    data = make_masks(num=1)
    job = make_job(data, mode=mode)
    picture: Picture = job.encoder.transform.open(data / "images" / "0.png")
    features = dense_features(labeller(job, ["red", "green"]), picture, 4)
    assert features.shape == (8, 16, 3)
    assert features[:, 0] == pytest.approx(np.tile([1, 0, 0], (8, 1)), abs=0.02)
    assert features[:, -1] == pytest.approx(np.tile([0, 1, 0], (8, 1)), abs=0.02)


def test_a_region_has_the_mean_of_its_pixels() -> None:
    features = np.arange(4, dtype=np.float32).reshape(1, 4, 1)
    truth = np.array([[0, 0, 0, 1, 1, 1, 255, 255]])
    classes, means = region_means(features, truth)
    assert classes.tolist() == [0, 1]
    assert means[:, 0].tolist() == pytest.approx([1 / 3, 5 / 3])


def test_cells_have_the_label_of_their_middle() -> None:
    truth = np.repeat(np.array([[0, 0, 0, 1, 2, 2]]), 3, axis=0)
    assert centre_labels(truth, 1, 2).tolist() == [[0, 2]]
