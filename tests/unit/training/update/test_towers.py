from collections.abc import Callable

import pytest
import torch

from dinotxt.models.dinotxt import DinoTxt
from dinotxt.models.text.text_encoder import TextBlock
from dinotxt.models.vision.blocks import VisionBlock
from dinotxt.training.config import TrainConfig
from dinotxt.training.update.towers import TrainedTowers


@pytest.mark.parametrize(("frozen", "kinds"), [("true", []), ("false", ["Block"])])
def test_the_blocks_that_train_are_found_in_every_tower(
    config: Callable[..., TrainConfig], frozen: str, kinds: list[str]
) -> None:
    model = DinoTxt.from_config(config(f"model.backbone.frozen={frozen}").model)
    towers = TrainedTowers(model, captions="drawn")
    blocks = [type(block) for block in towers.blocks()]
    assert [kind.__name__ for kind in blocks[: len(kinds)]] == kinds
    assert blocks[len(kinds) :] == [VisionBlock, TextBlock]


def test_the_towers_leave_out_what_is_frozen_and_the_scalars_of_the_loss(
    config: Callable[..., TrainConfig],
) -> None:
    model = DinoTxt.from_config(config().model)
    names = {name for name, _ in TrainedTowers(model, captions="drawn").named_parameters()}
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    assert names == trained - {"logit_scale"}
    assert all(value.ndim > 0 for value in TrainedTowers(model, captions="all").parameters())
    assert torch.is_tensor(model.logit_scale)
