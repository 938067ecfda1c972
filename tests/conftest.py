"""Fixtures that several packages share: generated pictures and two small encoders."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tokenizers
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray
from PIL import Image
from tokenizers import models, pre_tokenizers

from dinotxt.data.pictures.transform import Transform, TransformConfig
from dinotxt.inference.encoder import Encoder
from dinotxt.text.tokenizer import TokenBatch, Tokenizer

if TYPE_CHECKING:
    from dinotxt.export.folder import Export
    from dinotxt.models.config import ModelConfig

# What a run finds must not depend on chance or on a busy machine; `make test-all` draws at random.
_SETTINGS = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("random", _SETTINGS)
settings.register_profile("repeatable", _SETTINGS, derandomize=True)
settings.load_profile("repeatable")

COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}
TINY_RUN = """
output: {folder}/run
steps: 6
batch_size: 4
model:
  backbone:
    name: vit_tiny_patch16_224
    weights: random
    options: {{embed_dim: 32, depth: 1, num_heads: 2, img_size: 32}}
  vision_head: {{num_blocks: 1, dim: 64, drop_path: 0.5}}
  text_encoder: {{kind: transformer, width: 32, layers: 1, heads: 2}}
data: {{train: {folder}/pairs.csv, val: 0.3, size: 32, views: {{}}, num_workers: 0}}
optim: {{lr: 1e-3, warmup_steps: 2}}
checkpoint: {{every: 2}}
evaluate: {{every: 3}}
"""


class ColourTowers:
    """Towers that know three colours: a picture is its mean colour, a word names one."""

    embed_dim = 6
    patch_dim = 3
    patch_size = 8
    logit_scale = 20.0
    fingerprint = "colours"

    def __init__(self) -> None:
        self.num_texts = 0
        self.batches: list[tuple[int, ...]] = []

    def encode_image(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        self.batches.append(pixels.shape)
        mean = pixels.mean(axis=(2, 3))
        return np.concatenate([mean, mean], axis=1)

    def encode_patches(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        self.batches.append(pixels.shape)
        num, channels, height, width = pixels.shape
        size = self.patch_size
        split = pixels.reshape(num, channels, height // size, size, width // size, size)
        return np.ascontiguousarray(split.mean(axis=(3, 5)).transpose(0, 2, 3, 1))

    def encode_text(self, tokens: TokenBatch) -> NDArray[np.float32]:
        self.num_texts += len(tokens)
        table = np.array([(0, 0, 0), (0.1, 0.1, 0.1), *COLOURS.values()], dtype=np.float32)
        colour = table[tokens.ids].sum(axis=1)
        return np.concatenate([colour, colour], axis=1)

    def dense_text(self, text_features: NDArray[np.float32]) -> NDArray[np.float32]:
        return text_features[:, 3:]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DINOTXT_CACHE", str(tmp_path / "dinotxt-cache"))


@pytest.fixture
def colour_towers() -> ColourTowers:
    """Towers that know red, green and blue."""
    return ColourTowers()


@pytest.fixture
def colour_encoder(colour_towers: ColourTowers) -> Encoder:
    """An encoder over ``colour_towers`` for 32-pixel squares."""
    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", *COLOURS])}
    backend = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    config = TransformConfig(size=32, resize="squash", mean=(0, 0, 0), std=(1, 1, 1))
    return Encoder(colour_towers, Tokenizer(backend), Transform(config), "colours")


@pytest.fixture
def pictures(tmp_path: Path) -> dict[str, Path]:
    """Plain pictures on disk: red, green and blue, and one that is half red, half blue."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    images = {name: Image.new("RGB", (48, 40), _rgb(name)) for name in COLOURS}
    images["half"] = images["red"].copy()
    images["half"].paste(images["blue"].crop((0, 0, 24, 40)), (24, 0))
    for name, image in images.items():
        image.save(folder / f"{name}.png")
    return {name: folder / f"{name}.png" for name in images}


@pytest.fixture(scope="session")
def tiny_config() -> "ModelConfig":
    """A model of 32 channels and two blocks: random weights, made in no time."""
    from dinotxt.models.config import (
        BackboneConfig,
        ModelConfig,
        TransformerTextConfig,
        VisionHeadConfig,
    )

    options = {"embed_dim": 32, "depth": 2, "num_heads": 2, "patch_size": 8, "img_size": 32}
    name = "vit_tiny_patch16_224"
    return ModelConfig(
        backbone=BackboneConfig(name=name, weights="random", options=options),
        vision_head=VisionHeadConfig(num_blocks=1, num_heads=2),
        text_encoder=TransformerTextConfig(width=32, layers=2, heads=2),
    )


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, tiny_config: "ModelConfig") -> Path:
    """A run folder with the tiny model in ``model/``, as ``dinotxt train`` leaves it."""
    import torch

    from dinotxt.checkpoints.format import save_model
    from dinotxt.models.dinotxt import DinoTxt

    run = tmp_path_factory.mktemp("runs") / "tiny"
    torch.manual_seed(0)
    save_model(
        DinoTxt.from_config(tiny_config),
        run / "model",
        config=tiny_config,
        tokenizer=Tokenizer.clip(),
        transform=TransformConfig(size=32, resize="squash"),
    )
    return run


@pytest.fixture(scope="session")
def exported(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> "Export":
    """The tiny model as ONNX files for 32 and 64 pixels, in both precisions."""
    from dinotxt.export.folder import export

    return export(str(tiny_model), tmp_path_factory.mktemp("export"), sizes=(64, 32))


def _rgb(name: str) -> tuple[int, int, int]:
    red, green, blue = COLOURS[name]
    return 255 * red, 255 * green, 255 * blue


@pytest.fixture
def tiny_run(tmp_path: Path) -> Path:
    """A training configuration: 12 pictures with two captions each, two one-block towers.

    Its run folder is ``run`` beside it; six steps take less than a second.
    """
    rows = ["path,caption"]
    for number in range(12):
        name = list(COLOURS)[number % 3]
        path = tmp_path / f"{number:02d}.png"
        Image.new("RGB", (48, 40 + number), _rgb(name)).save(path)
        rows += [f"{path.name},a {name} square", f"{path.name},picture {number} is {name}"]
    (tmp_path / "pairs.csv").write_text("\n".join(rows) + "\n")
    config = tmp_path / "tiny.yaml"
    config.write_text(TINY_RUN.format(folder=tmp_path))
    return config
