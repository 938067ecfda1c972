import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from dinotxt.errors import ConfigError
from dinotxt.inference.inputs import brighten, check_size, fit_whole, scaled_size, windows


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


def _ramp(low: int, high: int) -> Image.Image:
    levels = np.linspace(low, high, 60).astype(np.uint8)
    return Image.fromarray(np.broadcast_to(levels[:, None, None], (60, 40, 3)).copy())


def _mean(picture: object) -> float:
    return float(np.asarray(picture).mean()) / 255


def test_a_dark_picture_comes_near_the_brightness_and_keeps_its_order() -> None:
    dark = _ramp(20, 120)
    seen = brighten(dark, 0.45)
    assert _mean(dark) < 0.3
    assert _mean(seen) == pytest.approx(0.45, abs=0.03)
    rows = np.asarray(seen)[:, 0, 0].astype(int)
    assert (np.diff(rows) >= 0).all()
    assert seen.size == dark.size


@pytest.mark.parametrize("brightness", [0.45, None])
def test_bright_pictures_stay_as_they_are(brightness: float | None) -> None:
    bright = _ramp(100, 250)
    assert brighten(bright, brightness) is bright


def test_without_a_brightness_dark_pictures_stay_as_they_are() -> None:
    dark = _ramp(0, 60)
    assert brighten(dark, None) is dark


def test_channels_are_brightened_as_pixels_are() -> None:
    dark = _ramp(20, 120)
    planes = np.asarray(dark, dtype=np.float32).transpose(2, 0, 1)
    channels: NDArray[np.float32] = np.asarray(planes / 255, dtype=np.float32)
    expected = np.asarray(brighten(dark, 0.45), dtype=np.float32).transpose(2, 0, 1) / 255
    np.testing.assert_allclose(np.asarray(brighten(channels, 0.45)), expected, atol=0.01)


def test_a_night_is_not_made_a_day() -> None:
    black = Image.new("RGB", (8, 8))
    assert brighten(black, 0.45).getextrema() == ((0, 0),) * 3  # type: ignore[union-attr]
    night = Image.new("RGB", (8, 8), (4, 4, 4))
    assert _mean(brighten(night, 0.45)) < 0.25
