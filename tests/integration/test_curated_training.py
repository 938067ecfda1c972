"""``dinotxt train`` on a curation folder: only kept pairs, drawn anew each epoch, resumable."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dinotxt.config import load_config
from dinotxt.curation.config import CurationConfig
from dinotxt.curation.pipeline import curate
from dinotxt.data.order.curated import CuratedPairs, pair_ids
from dinotxt.data.order.curated_sampler import CuratedSampler
from dinotxt.data.readers.pairs import read_pairs
from dinotxt.errors import DataError
from dinotxt.training.config import TrainConfig
from dinotxt.training.trainer import Trainer

WORDS = ["dog", "dog", "dog", "cat", "boat"]
RUN = """
output: {folder}/run
steps: 4
batch_size: 4
model:
  backbone:
    name: vit_tiny_patch16_224
    weights: random
    options: {{embed_dim: 32, depth: 1, num_heads: 2, img_size: 32}}
  vision_head: {{num_blocks: 1, dim: 64}}
  text_encoder: {{kind: transformer, width: 32, layers: 1, heads: 2}}
data: {{train: {folder}/pairs.csv, size: 32, num_workers: 0, curation: {folder}/curated}}
optim: {{lr: 1e-3, warmup_steps: 2}}
checkpoint: {{every: 2}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lines = ["path,caption"]
    for number in range(20):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,a {WORDS[number % 5]} {number}")
        lines.append(f"{number}.png,xyzzy")
    (tmp_path / "pairs.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "run.yaml").write_text(RUN.format(folder=tmp_path))
    content = {
        "input": str(tmp_path / "pairs.csv"), "output": tmp_path / "curated", "workers": 1,
        "metadata": {"sources": ["wordnet"]}, "text": {"threshold": 8}, "draw": {"mode": "text"},
    }  # fmt: skip
    curate(load_config(CurationConfig, content), "draw")
    return tmp_path


def test_a_run_sees_only_kept_captions(folder: Path) -> None:
    run = Trainer(TrainConfig.from_yaml(folder / "run.yaml")).fit()
    assert run.steps == 4
    pairs = read_pairs(folder / "pairs.csv")
    captions = [caption for pair in pairs for caption in pair.captions]
    sampler = CuratedSampler(pair_ids(pairs), CuratedPairs(folder / "curated"), 4, seed=0)
    shown = [captions[index] for step in range(12) for index in sampler.captions(step)]
    assert "xyzzy" not in shown
    assert len(set(shown)) > 8


def test_a_stopped_run_does_not_go_on_with_another_draw(folder: Path) -> None:
    config = TrainConfig.from_yaml(folder / "run.yaml")
    Trainer(config).fit()
    path = folder / "curated" / "keep" / "draw.json"
    path.write_text(path.read_text().replace('"text"', '"none"'))
    with pytest.raises(DataError, match="other pairs"):
        Trainer(config).fit()


def test_a_folder_that_is_no_curation_is_named(folder: Path) -> None:
    config = TrainConfig.from_yaml(folder / "run.yaml", f"data.curation={folder}")
    with pytest.raises(DataError, match="no finished curation"):
        Trainer(config).fit()
