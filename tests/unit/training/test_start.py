from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dinotxt.checkpoints.format import load_model
from dinotxt.data.order.sampler import EpochSampler
from dinotxt.errors import CheckpointError, ConfigError
from dinotxt.models.config import RawClsConfig, VisionHeadConfig
from dinotxt.models.dinotxt import DinoTxt
from dinotxt.models.vision.input_norm import Standardize
from dinotxt.models.vision.tokens import Tokens
from dinotxt.models.vision.vision_head import VisionHead
from dinotxt.results.skip import Skip
from dinotxt.text.tokenizer import TokenBatch
from dinotxt.training.config import RidgeConfig, TrainConfig
from dinotxt.training.feed.batches import Batches
from dinotxt.training.feed.captions import CaptionTable
from dinotxt.training.start import start_from_ridge
from dinotxt.training.trainer import Trainer

Make = Callable[..., TrainConfig]
ONLY_SCALE = "optim.groups=[{prefix: logit_scale}, {prefix: '', lr_factor: 0}]"


def test_a_run_may_begin_from_a_model_and_train_a_part_of_it(config: Make, tmp_path: Path) -> None:
    first = Trainer(config()).fit()
    start = f"start={{kind: model, path: {first.path}/model}}"
    second = Trainer(config(f"output={tmp_path}/second", start, ONLY_SCALE)).fit()
    before = load_model(first.path / "model").model.trainable_state_dict()
    after = load_model(second.path / "model").model.trainable_state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"logit_scale"}


def test_a_start_that_is_missing_or_of_another_shape_is_refused(
    config: Make, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"start\.path: there is no model folder"):
        Trainer(config(f"start={{kind: model, path: {tmp_path}/none}}")).fit()
    first = Trainer(config()).fit()
    other = (
        f"output={tmp_path}/other",
        f"start={{kind: model, path: {first.path}/model}}",
        "model.vision_head.dim=16",
    )
    with pytest.raises(CheckpointError, match="vision_head"):
        Trainer(config(*other)).fit()


def test_freezing_nothing_or_everything_is_refused(config: Make) -> None:
    with pytest.raises(ConfigError, match=r"no parameter begins with \['txt'\]"):
        Trainer(config("optim.groups=[{prefix: txt, lr_factor: 0}]")).fit()
    with pytest.raises(ConfigError, match="freeze everything"):
        Trainer(config("optim.groups=[{prefix: '', lr_factor: 0}]")).fit()


def test_fresh_parts_of_a_start_keep_their_own_initialisation(config: Make, tmp_path: Path) -> None:
    first = Trainer(config()).fit()
    start = f"start={{kind: model, path: {first.path}/model, fresh: [text_encoder.projection]}}"
    settings = config(f"output={tmp_path}/second", "seed=5", start, ONLY_SCALE)
    second = Trainer(settings).fit()
    before = load_model(first.path / "model").model.trainable_state_dict()
    after = load_model(second.path / "model").model.trainable_state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"logit_scale", "text_encoder.projection.weight"}
    torch.manual_seed(5)
    own = DinoTxt.from_config(settings.model).text_encoder.projection.weight
    torch.testing.assert_close(after["text_encoder.projection.weight"], own.detach())


def test_a_fresh_part_that_is_not_there_is_refused(config: Make, tmp_path: Path) -> None:
    first = Trainer(config()).fit()
    start = f"start={{kind: model, path: {first.path}/model, fresh: [text_encoder.projektion]}}"
    with pytest.raises(ConfigError, match=r"start\.fresh: no trained parameter's name begins with"):
        Trainer(config(f"output={tmp_path}/second", start)).fit()


NUM_PAIRS, WIDTH, HIDDEN = 200, 5, 3


class Text(nn.Module):
    """A text encoder whose vector of a caption is a row of a table."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = table
        self.projection: nn.Module = nn.Linear(HIDDEN, HIDDEN)
        self.cls_projection: nn.Sequential | None = nn.Sequential(
            Standardize(HIDDEN), nn.Linear(HIDDEN, WIDTH)
        )

    def pool(self, token_ids: Tensor, lengths: Tensor) -> Tensor:
        del lengths
        return self.table[token_ids[:, 0]]


class Cached:
    """Tokens whose patches average to a linear function of the captions, plus noise."""

    def __init__(self, features: Tensor) -> None:
        self.features = features

    def read(
        self, pairs: NDArray[np.int64], epoch: int
    ) -> tuple[Tokens, NDArray[np.int64], tuple[Skip, ...]]:
        cls = self.features[epoch % 2][pairs]
        return (
            Tokens(cls, cls[:, None][:, :0], cls[:, None] + torch.zeros(1, 4, 1), (2, 2)),
            pairs,
            (),
        )


def numbered(texts: Sequence[str]) -> TokenBatch:
    return TokenBatch(np.array([[int(text)] for text in texts]), np.ones(len(texts), np.int64))


def problem(**head: Any) -> tuple[Any, Batches, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(2 * NUM_PAIRS, HIDDEN, generator=generator) * torch.tensor([3.0, 1, 0.2])
    vectors += 5
    mean = vectors.view(NUM_PAIRS, 2, HIDDEN).mean(1)
    noise = torch.randn(2, NUM_PAIRS, WIDTH, generator=generator)
    images = mean @ torch.randn(HIDDEN, WIDTH, generator=generator) + 0.1 * noise + 2
    settings: dict[str, Any] = {
        "num_blocks": 0,
        "input_norm": "standard",
        "dim": HIDDEN,
        "pooling": "avg",
    } | head
    vision_head = VisionHead(VisionHeadConfig(**settings), WIDTH)
    text = Text(vectors)
    if vision_head.config.pooling == "avg":
        text.cls_projection = None
    model = SimpleNamespace(vision_head=vision_head, text_encoder=text)
    captions = [(str(2 * n), str(2 * n + 1)) for n in range(NUM_PAIRS)]
    table = CaptionTable(captions, numbered, seed=0)
    sampler = EpochSampler(NUM_PAIRS, 10, 0)
    return model, Batches(Cached(images), table, sampler, micro_batch_size=10), images, vectors


def test_the_start_is_the_ridge_solution_on_whitened_vectors() -> None:
    model, batches, images, vectors = problem()
    start_from_ridge(
        model,
        [batches],
        RidgeConfig(penalty=0.3, whitening=0.5, passes=2),
        device=torch.device("cpu"),
    )
    rows, texts = images.flatten(0, 1).double(), vectors.double()
    centred = texts - texts.mean(0)
    values, basis = torch.linalg.eigh(centred.T @ centred / len(texts))
    whiten = basis @ ((values + 1e-4 * values.max()) ** -0.25).diag() @ basis.T
    target = (centred.view(NUM_PAIRS, 2, HIDDEN).mean(1) @ whiten).repeat(2, 1)
    scaled = (rows - rows.mean(0)) / (rows.std(0, unbiased=False) + 1e-3)
    gram = scaled.T @ scaled / len(rows) + 0.3 * torch.eye(WIDTH)
    solution = scaled @ torch.linalg.solve(gram, scaled.T @ target / len(rows))
    tokens = batches.vision.read(np.arange(NUM_PAIRS), 0)[0]
    found = model.vision_head.pool(model.vision_head(tokens)).double()
    expected = solution / solution.square().sum(1).mean().sqrt()
    torch.testing.assert_close(found, expected[:NUM_PAIRS], rtol=1e-3, atol=1e-4)
    text = model.text_encoder.projection(vectors).double()
    wanted = centred @ whiten / target.square().sum(1).mean().sqrt()
    torch.testing.assert_close(text, wanted, rtol=1e-3, atol=1e-4)


def test_pictures_find_their_captions_without_training() -> None:
    model, batches, _, vectors = problem()
    start_from_ridge(model, [batches], RidgeConfig(penalty=0.01), device=torch.device("cpu"))
    tokens = batches.vision.read(np.arange(NUM_PAIRS), 0)[0]
    image = nn.functional.normalize(model.vision_head.pool(model.vision_head(tokens)), dim=1)
    text = model.text_encoder.projection(vectors).view(NUM_PAIRS, 2, HIDDEN).mean(1)
    ranks = (image @ nn.functional.normalize(text, dim=1).T).argsort(1, descending=True)
    near = (ranks[:, :10] == torch.arange(NUM_PAIRS)[:, None]).any(1).float().mean()
    assert near > 0.6


def test_a_raw_cls_half_starts_scaled_and_its_texts_at_the_mean_picture() -> None:
    raw = RawClsConfig(power=1.0, center=0.25)
    model, batches, images, vectors = problem(pooling="cls_avg", raw_cls=raw)
    config = RidgeConfig(passes=2)
    start_from_ridge(model, [batches], config, device=torch.device("cpu"))
    rows = images.flatten(0, 1)
    spread = rows.std(0, unbiased=False)
    spread = spread + 0.1 * spread.mean()
    tokens = batches.vision.read(np.arange(NUM_PAIRS), 0)[0]
    expected = (images[0] - 0.25 * rows.mean(0)) / spread
    found = model.vision_head(tokens).cls
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    norm, last = model.text_encoder.cls_projection
    variance = vectors.var(0, unbiased=False).mean()
    torch.testing.assert_close(norm(vectors), (vectors - vectors.mean(0)) / variance.sqrt())
    middle = nn.functional.normalize(0.75 * rows.mean(0) / spread, dim=0)
    torch.testing.assert_close(last.bias.detach(), middle, rtol=1e-3, atol=1e-4)


def test_other_heads_are_refused() -> None:
    for head in ({"input_norm": "none"}, {"pooling": "cls_max"}, {"num_blocks": 1}):
        model, batches, _, _ = problem(**head)
        with pytest.raises(ConfigError, match=r"start\.kind: ridge needs"):
            start_from_ridge(model, [batches], RidgeConfig(), device=torch.device("cpu"))
