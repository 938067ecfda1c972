"""The picture once at each scale, with towers whose features are known in closed form."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.conftest import ColourTowers

from dinotxt.data.pictures import Transform, TransformConfig
from dinotxt.inference.dense import HighRes, Query
from dinotxt.inference.dense import scales as scales_module
from dinotxt.inference.encoder import Encoder
from dinotxt.text.tokenizer import Tokenizer


class NearTowers(ColourTowers):
    """A patch is the mean colour of a square of three patches around it: a small convolution."""

    margin = 8

    def encode_patches(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        own = super().encode_patches(pixels)
        padded = np.pad(own, ((0, 0), (1, 1), (1, 1), (0, 0)))
        height, width = own.shape[1:3]
        parts = [
            padded[:, row : row + height, column : column + width]
            for row in range(3)
            for column in range(3)
        ]
        return np.asarray(sum(parts), dtype=np.float32) + 1


def encoder_of(towers: ColourTowers) -> Encoder:
    config = TransformConfig(size=16, mean=(0, 0, 0), std=(1, 1, 1), interpolation="bilinear")
    return Encoder(towers, Tokenizer.clip(), Transform(config))


def picture(width: int = 96, height: int = 64) -> Image.Image:
    small = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def features(towers: ColourTowers, **settings: object) -> NDArray[np.float32]:
    mode = HighRes(crops=40, crop_size=32, grid_stride=4, num_clusters=None, **settings)  # type: ignore[arg-type]
    text = np.eye(3, dtype=np.float32)
    return mode.features(Query(encoder_of(towers), text), picture())


def test_tiles_with_a_margin_give_what_one_pass_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    areas = {"areas": (0.05, 0.2), "shares": (0.7, 0.3)}
    whole = features(NearTowers(), **areas)
    monkeypatch.setattr(scales_module, "_TILE", 24)
    towers = NearTowers()
    tiled = features(towers, **areas)
    assert len(towers.batches) > 20
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


def test_a_scale_sees_the_picture_at_the_size_that_its_crops_have() -> None:
    towers = NearTowers()
    features(towers, areas=(0.04, 0.16), shares=(0.7, 0.3), jitter=0.0)
    sides = [shape[2:] for shape in towers.batches]
    assert len(sides) == 2
    for (height, width), area in zip(sides, (0.04, 0.16), strict=True):
        crop = np.sqrt(area * 96 * 64)  # of the picture's pixels, which become 32
        assert height == pytest.approx(64 * 32 / crop, abs=5)
        assert width == pytest.approx(96 * 32 / crop, abs=5)
        assert height % 8 == width % 8 == 0
