import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dinotxt.inference.dense.exposure import brighten


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
