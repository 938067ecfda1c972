from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dinotxt.checkpoints.format import load_model
from dinotxt.errors import CheckpointError, ConfigError
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
