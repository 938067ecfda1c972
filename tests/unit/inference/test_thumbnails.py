from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.conftest import ColourTowers

from dinotxt.data.pictures.transform import Transform
from dinotxt.inference.encoder import Encoder

See = Callable[..., NDArray[np.float32]]


class SideTowers(ColourTowers):
    """Towers that say how large an input is and how bright its left and right halves are."""

    def encode_image(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        side = pixels.shape[-1]
        halves = (half.mean(axis=(1, 2, 3)) for half in np.split(pixels, 2, axis=3))
        return np.stack([np.full(len(pixels), side, np.float32), *halves], axis=1)


@pytest.fixture
def see(colour_encoder: Encoder) -> See:
    """Encode pixels with a model that takes inputs of a size, and sees others at some scales."""

    def run(pixels: NDArray[np.float32], size: int, *scales: float) -> NDArray[np.float32]:
        encoder = Encoder(
            SideTowers(),
            colour_encoder.tokenizer,
            Transform(replace(colour_encoder.transform.config, size=size)),
            defaults=replace(colour_encoder.defaults, thumbnail_scales=scales),
        )
        return encoder.encode_pixels(pixels)

    return run


def test_small_inputs_are_seen_at_other_sizes_too_and_averaged(see: See) -> None:
    pixels = np.zeros((2, 3, 80, 80), dtype=np.float32)
    pixels[0, ..., 40:] = 1
    pixels[1] = 0.5
    found = see(pixels, 288, 0.6, 1.4)
    assert found[:, 0].tolist() == pytest.approx([(80 + 48 + 112) / 3] * 2)
    assert found[0, 1:] == pytest.approx([0, 1], abs=0.02)
    assert found[1, 1:] == pytest.approx([0.5, 0.5])


def test_sides_stay_between_two_patches_and_the_models_own(see: See) -> None:
    pixels = np.zeros((1, 3, 80, 80), dtype=np.float32)
    found = see(pixels, 96, 0.01, 9)
    assert found[0, 0] == pytest.approx((80 + 16 + 96) / 3)


@pytest.mark.parametrize(("side", "scales"), [(96, (0.5,)), (80, ())])
def test_full_inputs_and_models_without_scales_are_seen_once(
    see: See, side: int, scales: tuple[float, ...]
) -> None:
    pixels = np.zeros((1, 3, side, side), dtype=np.float32)
    assert see(pixels, 96, *scales)[0, 0] == side


def test_an_encoder_sees_thumbnails_as_its_defaults_say(colour_encoder: Encoder) -> None:
    config = replace(colour_encoder.transform.config, size=96, max_enlarge=4.0)
    encoder = Encoder(
        colour_encoder.towers,
        colour_encoder.tokenizer,
        type(colour_encoder.transform)(config),
        defaults=replace(colour_encoder.defaults, thumbnail_scales=(0.5,)),
    )
    encoder.encode_image([np.zeros((20, 20, 3), np.uint8), np.zeros((200, 200, 3), np.uint8)])
    shapes = colour_encoder.towers.batches  # type: ignore[attr-defined]
    assert [shape[-1] for shape in shapes] == [80, 40, 96]
