from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dinotxt.errors import ConfigError
from dinotxt.inference.dense.window import SlidingWindow, Whole
from dinotxt.inference.encoder import Encoder


def test_windows_of_one_picture_run_in_batches(colour_encoder: Encoder, colour_towers: Any) -> None:
    picture = Image.new("RGB", (96, 32))
    text = np.eye(3, dtype=np.float32)
    scores = SlidingWindow(32, 16).score_map(
        colour_encoder, picture, text, upsample="logits", batch_size=2
    )
    assert scores.shape == (32, 96)
    assert colour_towers.batches == [(2, 3, 32, 32), (2, 3, 32, 32), (1, 3, 32, 32)]


def test_windows_that_the_patch_does_not_divide_are_stretched(
    colour_encoder: Encoder, colour_towers: Any
) -> None:
    SlidingWindow(30, 15).score_map(
        colour_encoder,
        Image.new("RGB", (60, 30)),
        np.eye(3, dtype=np.float32),
        upsample="logits",
        batch_size=8,
    )
    assert colour_towers.batches == [(3, 3, 32, 32)]


def test_whole_gives_the_grid_or_the_pixels(
    colour_encoder: Encoder, pictures: dict[str, Path]
) -> None:
    picture, text = Image.open(pictures["half"]), np.eye(3, dtype=np.float32)
    grid = Whole(40).score_map(colour_encoder, picture, text, upsample="logits", batch_size=1)
    pixels = Whole(40).score_map(colour_encoder, picture, text, upsample="features", batch_size=1)
    assert grid.shape == (5, 6)
    assert pixels.shape == (40, 48)


@pytest.mark.parametrize(("size", "stride"), [(32, 0), (32, 33), (0, 0)])
def test_windows_with_gaps_are_refused(size: int, stride: int) -> None:
    with pytest.raises(ConfigError, match="gaps"):
        SlidingWindow(size, stride)
