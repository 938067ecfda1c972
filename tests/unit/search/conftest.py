from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dinotxt.data.pictures.transform import Transform, TransformConfig
from dinotxt.inference.encoder import Encoder
from dinotxt.text.tokenizer import TokenBatch

COLOURS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "white": (255, 255, 255),
}
MakePicture = Callable[..., Path]
MakeEncoder = Callable[..., Encoder]


class ColourTowers:
    """Features are the mean colour, and a trace of the whole batch, as rounding leaves one."""

    embed_dim = 3
    patch_dim = 3
    patch_size = 1
    logit_scale = 10.0

    def __init__(self, fingerprint: str) -> None:
        self.fingerprint = fingerprint
        self.num_pictures = 0

    def encode_image(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        self.num_pictures += len(pixels)
        means = pixels.mean(axis=(2, 3))
        return np.asarray(means + 1e-3 * means.mean(axis=0), np.float32)

    def encode_text(self, tokens: TokenBatch) -> NDArray[np.float32]:
        colours = np.array(list(COLOURS.values()), np.float32)
        return np.asarray(colours[tokens.ids[:, 0]] / 127.5 - 1, np.float32)


class ColourTokenizer:
    def __call__(self, texts: Sequence[str]) -> TokenBatch:
        names = list(COLOURS)
        ids = [
            [names.index(next(word for word in text.split() if word in names))] for text in texts
        ]
        return TokenBatch(np.array(ids, np.int64), np.ones(len(texts), np.int64))


@pytest.fixture
def make_encoder() -> MakeEncoder:
    def make(fingerprint: str = "colours-1", name: str = "colours", size: int = 8) -> Encoder:
        config = TransformConfig(size=size, resize="squash", mean=(0.5,) * 3, std=(0.5,) * 3)
        towers: Any = ColourTowers(fingerprint)
        return Encoder(towers, cast(Any, ColourTokenizer()), Transform(config), name)

    return make


@pytest.fixture
def make_picture(tmp_path: Path) -> MakePicture:
    """Write a picture into ``album``: a colour by name, or noise that the path decides."""

    def make(path: str, colour: str | None = None) -> Path:
        target = tmp_path / "album" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(list(path.encode())).integers(0, 256, (6, 6, 3))
        pixels = np.full((6, 6, 3), COLOURS[colour]) if colour else noise
        Image.fromarray(pixels.astype(np.uint8)).save(target.with_suffix(".png"))
        target.with_suffix(".png").rename(target)
        return target

    return make


@pytest.fixture
def album(tmp_path: Path, make_picture: Callable[..., Path]) -> Path:
    for number, colour in enumerate(("red", "green", "blue", "yellow")):
        make_picture(f"{number % 2}/{colour}.png", colour)
    return tmp_path / "album"
