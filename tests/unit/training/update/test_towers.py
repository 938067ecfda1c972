from collections.abc import Callable

import pytest
import torch
from pydantic import ValidationError

from dinotxt.errors import ConfigError
from dinotxt.models.dinotxt import DinoTxt
from dinotxt.models.text.text_encoder import TextBlock
from dinotxt.models.vision.blocks import VisionBlock
from dinotxt.models.vision.drop_path import SubsetDraw
from dinotxt.models.vision.tokens import Tokens
from dinotxt.training.config import TrainConfig
from dinotxt.training.feed.batches import Batch
from dinotxt.training.update.towers import Mixture, TrainedTowers

Make = Callable[..., TrainConfig]

_CPU = torch.device("cpu")


def test_a_blend_is_the_share_of_a_pair_and_the_rest_of_its_partner() -> None:
    mixture = Mixture(torch.tensor([1.0, 0.25]), torch.tensor([1, 0]))
    features = torch.tensor([[[2.0, 4.0]], [[6.0, 8.0]]])
    assert mixture.blend(features).tolist() == [[[2.0, 4.0]], [[3.0, 5.0]]]
    blended = mixture.blend_tokens(Tokens(features[:, 0], features[:, :0], features, (1, 1)))
    assert blended.cls.tolist() == [[2.0, 4.0], [3.0, 5.0]]
    assert blended.registers.shape == (2, 0, 2)
    assert blended.grid == (1, 1)


def test_a_draw_repeats_with_the_generator_and_stays_within_the_batch() -> None:
    torch.manual_seed(3)
    first = Mixture.draw(50, 1.0, _CPU)
    torch.manual_seed(3)
    again = Mixture.draw(50, 1.0, _CPU)
    torch.testing.assert_close(first.share, again.share, rtol=0, atol=0)
    assert first.partner.tolist() == again.partner.tolist()
    assert sorted(first.partner.tolist()) == list(range(50))
    assert 0 <= first.share.min() < 0.3 < 0.7 < first.share.max() <= 1


def test_towers_mix_in_training_alone(config: Make) -> None:
    torch.manual_seed(0)
    settings = config("data.mixup=1.0", "model.vision_head.drop_path=0")
    model = DinoTxt.from_config(settings.model)
    towers = TrainedTowers(model, captions="drawn", mixup=settings.data.mixup).train()
    plain = TrainedTowers(model, captions="drawn").train()
    batch = Batch(torch.randn(5, 3, 32, 32), torch.randint(1, 99, (5, 4)), torch.full((5,), 4))
    tokens = model.backbone(batch.vision)
    draw = SubsetDraw(seed=0, step=0, global_batch=5, start=0, size=5)
    torch.manual_seed(7)
    mixed = towers(tokens, batch, draw)
    torch.manual_seed(7)
    mixture = Mixture.draw(5, 1.0, _CPU)
    expected = plain(mixture.blend_tokens(tokens), batch, draw)[0]
    torch.testing.assert_close(mixed[0], expected)
    unmixed = plain(tokens, batch, draw)
    torch.testing.assert_close(mixed[1], mixture.blend(unmixed[1]))  # a linear projection
    assert not torch.allclose(mixed[0], unmixed[0])
    towers.eval()
    torch.testing.assert_close(towers(tokens, batch, draw), plain.eval()(tokens, batch, draw))


@pytest.mark.parametrize("captions", ["all", "averaged"])
def test_mixup_needs_drawn_captions(config: Make, captions: str) -> None:
    with pytest.raises((ConfigError, ValidationError), match=r"data\.mixup mixes single captions"):
        config("data.mixup=0.5", f"data.captions={captions}")


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
