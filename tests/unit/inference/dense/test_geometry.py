import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dinotxt.errors import ConfigError
from dinotxt.inference.dense.geometry import check_size, fit_whole, scaled_size, windows


def test_the_short_side_is_resized_and_the_aspect_kept() -> None:
    assert scaled_size(Image.new("RGB", (2048, 1024)), 448) == (896, 448)
    assert scaled_size(Image.new("RGB", (300, 500)), 448) == (448, 747)


def test_a_very_long_picture_is_capped_on_its_long_side() -> None:
    assert scaled_size(Image.new("RGB", (10000, 1000)), 448) == (2048, 205)


def test_whole_pictures_are_rounded_to_the_patch() -> None:
    assert fit_whole(Image.new("RGB", (500, 375)), 224, 14) == (294, 224)
    assert fit_whole(Image.new("RGB", (5, 3000)), 32, 16) == (16, 144)


def test_an_input_of_one_patch_is_refused() -> None:
    check_size(64, 32)
    with pytest.raises(ConfigError, match=r"size is 63, .* give at least 64"):
        check_size(63, 32)


def test_cityscapes_has_three_windows() -> None:
    places = windows(896, 448, 448, 224)
    assert [(place.top, place.left) for place in places] == [(0, 0), (0, 224), (0, 448)]


def test_the_last_window_is_shifted_inwards() -> None:
    places = windows(700, 448, 448, 224)
    assert [place.left for place in places] == [0, 224, 252]


def test_a_short_side_makes_windows_of_its_own_length() -> None:
    assert {(place.height, place.width) for place in windows(2048, 205, 448, 224)} == {(205, 448)}


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 30), st.data())
def test_windows_cover_every_pixel(width: int, height: int, size: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, size))
    visits = np.zeros((height, width), dtype=int)
    for place in windows(width, height, size, stride):
        assert place.top + place.height <= height
        assert place.left + place.width <= width
        visits[place.top : place.top + place.height, place.left : place.left + place.width] += 1
    assert visits.min() >= 1


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (4000, 3)])
def test_extreme_pictures_still_have_pixels(size: tuple[int, int]) -> None:
    width, height = fit_whole(Image.new("RGB", size), 224, 14)
    assert min(width, height) >= 14
    assert max(width, height) <= 1036
