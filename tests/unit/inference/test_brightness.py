"""Every way to look at a dark picture sees it as bright as the model's defaults say."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dinotxt.inference.dense.highres import HighRes
from dinotxt.inference.dense.scores import Mode, Query
from dinotxt.inference.dense.window import SlidingWindow, Whole
from dinotxt.inference.encoder import Encoder

MODES = [Whole(), SlidingWindow(16, 8), HighRes(crops=4, crop_size=16, num_clusters=None)]


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: type(mode).__name__)
@pytest.mark.parametrize(("brightness", "seen"), [(None, 51 / 255), (0.5, 0.5)])
def test_dark_pictures_are_seen_as_bright_as_the_model_wants(
    colour_encoder: Encoder, mode: Mode, brightness: float | None, seen: float
) -> None:
    encoder = Encoder(
        colour_encoder.towers,
        colour_encoder.tokenizer,
        colour_encoder.transform,
        defaults=replace(colour_encoder.defaults, brightness=brightness),
    )
    means: list[float] = []
    encode = encoder.towers.encode_patches

    def watched(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        means.append(float(pixels.mean()))
        return encode(pixels)

    encoder.towers.encode_patches = watched  # type: ignore[method-assign]
    picture = Image.new("RGB", (40, 32), (51, 51, 51))
    text = np.eye(3, dtype=np.float32)
    mode.score_map(Query(encoder, text, batch_size=4), picture)
    assert means
    assert means == pytest.approx([seen] * len(means), abs=0.01)
