"""A tiny run: 12 coloured pictures, a 32-wide ViT and a two-layer text encoder."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dinotxt.training.config import TrainConfig

COLOURS = {"red": (220, 20, 20), "green": (20, 200, 30), "blue": (20, 30, 210)}
CONFIG = """
output: {output}
steps: 6
batch_size: 4
model:
  backbone:
    name: vit_tiny_patch16_224
    weights: random
    options: {{embed_dim: 32, depth: 1, num_heads: 2, img_size: 32}}
  vision_head: {{num_blocks: 1, dim: 64, drop_path: 0.5}}
  text_encoder: {{kind: transformer, width: 32, layers: 1, heads: 2, vocab_size: 49408}}
data: {{train: {pairs}, val: 0.3, size: 32, views: {{scale: [0.5, 1.0]}}, num_workers: 0}}
optim: {{lr: 1e-3, warmup_steps: 2}}
checkpoint: {{every: 2, keep: 2}}
evaluate: {{every: 3}}
"""


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    rows = []
    for number in range(12):
        colour = list(COLOURS)[number % 3]
        shade = np.clip(np.array(COLOURS[colour]) + 5 * number, 0, 255).astype(np.uint8)
        name = f"{number:02d}.png"
        Image.fromarray(np.tile(shade, (40, 48, 1))).save(tmp_path / name)
        rows += [(name, f"a {colour} square"), (name, f"the picture {number} is {colour}")]
    path = tmp_path / "pairs.csv"
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([("path", "caption"), *rows])
    return path


@pytest.fixture
def config(tmp_path: Path, pairs: Path) -> Callable[..., TrainConfig]:
    """Build the configuration of the tiny run, with overrides."""
    path = tmp_path / "run.yaml"
    path.write_text(CONFIG.format(output=tmp_path / "run", pairs=pairs))

    def make(*overrides: str) -> TrainConfig:
        return TrainConfig.from_yaml(path, *overrides)

    return make
