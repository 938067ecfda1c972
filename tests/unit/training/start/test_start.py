from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dinotxt.checkpoints.format import load_model
from dinotxt.errors import CheckpointError, ConfigError
from dinotxt.models.dinotxt import DinoTxt
from dinotxt.training.config import TrainConfig
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
