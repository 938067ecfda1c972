import numpy as np
import pytest

from dinotxt.errors import ConfigError
from dinotxt.results.palette import dataset_palette, palette


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


@pytest.mark.parametrize(
    ("name", "number", "first", "last"),
    [
        ("ade20k", 150, (120, 120, 120), (92, 0, 255)),
        ("camvid", 11, (128, 128, 128), (0, 128, 192)),
        ("cityscapes", 19, (128, 64, 128), (119, 11, 32)),
        ("context59", 59, (180, 120, 120), (31, 0, 255)),
        ("voc20", 20, (128, 0, 0), (0, 64, 128)),
    ],
)
def test_data_sets_have_their_published_colours(
    name: str, number: int, first: tuple[int, int, int], last: tuple[int, int, int]
) -> None:
    colours = dataset_palette(name, number)
    assert colours.shape == (number, 3)
    assert tuple(colours[0]) == first
    assert tuple(colours[-1]) == last
    with pytest.raises(ConfigError, match="in their order"):
        dataset_palette(name, number + 1)


def test_an_unknown_palette_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="cityscapes"):
        dataset_palette("city", 3)
