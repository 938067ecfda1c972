import numpy as np

from dinotxt.metrics.bootstrap import mean_interval, miou_interval
from dinotxt.metrics.confusion import Confusion


def test_interval_of_a_mean_is_near_the_normal_one() -> None:
    hits = np.arange(400) % 4 == 0
    low, high = mean_interval(hits, resamples=2000)
    half = 1.96 * np.sqrt(0.25 * 0.75 / 400)
    assert abs(low - (0.25 - half)) < 0.01
    assert abs(high - (0.25 + half)) < 0.01


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(0).random(50)
    assert mean_interval(values, seed=3) == mean_interval(values, seed=3)
    assert mean_interval(values, seed=3) != mean_interval(values, seed=4)


def test_equal_pictures_have_an_interval_of_one_point() -> None:
    confusion = Confusion(2)
    confusion.add(np.array([[0, 0, 1, 1]]), np.array([[0, 0, 1, 0]]))
    counts = np.stack([confusion.counts()] * 5)
    low, high = miou_interval(counts, resamples=50)
    assert low == high == confusion.miou()


def test_interval_of_the_miou_holds_the_miou_of_all_pictures() -> None:
    rng = np.random.default_rng(0)
    total, counts = Confusion(3), []
    for _ in range(20):
        one = Confusion(3)
        truth = rng.integers(0, 3, (8, 8))
        one.add(truth, np.where(rng.random((8, 8)) < 0.7, truth, rng.integers(0, 3, (8, 8))))
        total.merge(one)
        counts.append(one.counts())
    low, high = miou_interval(np.stack(counts))
    assert low < total.miou() < high


def test_pictures_without_a_true_pixel_have_no_interval() -> None:
    assert np.isnan(miou_interval(np.zeros((2, 3, 4), dtype=np.int64))).all()
