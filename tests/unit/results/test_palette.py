import numpy as np

from dinotxt.results.palette import palette


def test_longer_palette_starts_with_the_shorter_one() -> None:
    assert np.array_equal(palette(60)[:20], palette(20))
    assert len(palette(3)) == 3


def test_colours_are_distinct_and_far_from_each_other() -> None:
    colours = palette(32).astype(int)
    distance = np.abs(colours[:, None] - colours[None]).max(axis=-1)
    np.fill_diagonal(distance, 255)
    assert distance.min() >= 16


def test_more_labels_than_colours_repeat_the_colours() -> None:
    assert palette(5000).shape == (5000, 3)
