from typing import Any

import pytest
import torch

from dinotxt.errors import ConfigError
from dinotxt.models.config import RawClsConfig, VisionHeadConfig
from dinotxt.models.vision.input_norm import Standardize
from dinotxt.models.vision.tokens import Tokens
from dinotxt.models.vision.vision_head import VisionHead


def tokens(dim: int = 64, registers: int = 2) -> Tokens:
    patches = torch.randn(3, 6, dim)
    return Tokens(torch.randn(3, dim), torch.randn(3, registers, dim), patches, (2, 3))


def head(**options: Any) -> VisionHead:
    module = VisionHead(VisionHeadConfig(**options), 64).eval()
    for name, value in module.named_parameters():
        if name.endswith("gamma"):
            torch.nn.init.ones_(value)
    return module


def test_without_blocks_tokens_pass_unchanged_and_nothing_trains() -> None:
    given = tokens()
    plain = head(num_blocks=0)
    assert plain(given) is given
    assert list(plain.parameters()) == []


def test_the_pooled_widths_follow_the_pooling() -> None:
    given = tokens()
    for pooling, width in (("cls", 64), ("avg", 64), ("max", 64), ("cls_max", 128)):
        module = head(pooling=pooling, num_blocks=1)
        assert module.embed_dim == width
        assert module.pool(module(given)).shape == (3, width)


def test_poolings_are_what_their_names_say() -> None:
    given = tokens()
    mean, largest = given.patches.mean(dim=1), given.patches.amax(dim=1)
    expected = {
        "cls": given.cls,
        "avg": mean,
        "max": largest,
        "cls_avg": torch.cat([given.cls, mean], dim=1),
        "cls_max": torch.cat([given.cls, largest], dim=1),
    }
    for pooling, value in expected.items():
        assert torch.equal(head(num_blocks=0, pooling=pooling).pool(given), value)


def test_registers_take_part_or_are_dropped() -> None:
    given = tokens()
    other = Tokens(given.cls, torch.randn(3, 2, 64), given.patches, given.grid)
    through, dropped = head(num_blocks=1), head(num_blocks=1, registers="dropped")
    assert not torch.equal(through(given).patches, through(other).patches)
    assert torch.equal(dropped(given).patches, dropped(other).patches)
    assert through(given).registers.shape == (3, 2, 64)
    assert dropped(given).registers.shape == (3, 0, 64)


def test_dim_projects_all_tokens_first() -> None:
    module = head(num_blocks=0, dim=16)
    given = tokens()
    result = module(given)
    assert module.embed_dim == 32
    assert module.input_projection is not None
    torch.testing.assert_close(result.cls, module.input_projection(given.cls))
    torch.testing.assert_close(result.patches, module.input_projection(given.patches))


def test_cls_projection_widens_the_cls_token_alone() -> None:
    module = head(num_blocks=0, pooling="cls", cls_projection=128)
    given = tokens()
    assert module.embed_dim == 128
    assert module.pool(module(given)).shape == (3, 128)
    assert module(given).patches is given.patches


def test_heads_are_one_for_each_64_channels_unless_given() -> None:
    module = VisionHead(VisionHeadConfig(num_blocks=1), 192)
    assert module.blocks[0].attn.num_heads == 3  # type: ignore[union-attr]


def test_initial_weights_follow_the_released_code() -> None:
    module = VisionHead(VisionHeadConfig(num_blocks=1), 384)
    state = module.state_dict()
    assert state["blocks.0.attn.qkv.weight"].std().item() == pytest.approx(0.02, rel=0.02)
    assert state["blocks.0.mlp.w1.weight"].abs().max() < 0.11
    assert not state["blocks.0.mlp.w3.bias"].any()
    assert torch.equal(state["blocks.0.ls1.gamma"], torch.full((384,), 1e-5))
    assert "blocks.0.attn.qkv.bias" not in state


def test_the_released_head_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        module = VisionHead(VisionHeadConfig(), 1024)
    assert sum(value.numel() for value in module.parameters()) == 25_326_336


def test_values_skip_the_last_attention() -> None:
    given = tokens()
    module = head(num_blocks=2)
    values = module.values(given)
    assert values.patches.shape == given.patches.shape
    assert not torch.equal(values.patches, module(given).patches)
    alone = Tokens(given.cls[:1], given.registers[:1], given.patches[:1, :1], (1, 1))
    longer = Tokens(given.cls[:1], given.registers[:1], given.patches[:1], (2, 3))
    single = head(num_blocks=1)
    torch.testing.assert_close(single.values(alone).patches, single.values(longer).patches[:, :1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_blocks": -1}, "num_blocks"),
        ({"num_heads": 5}, "5 heads do not divide the width 64"),
        ({"drop_path": 1.0}, "drop_path"),
        ({"cls_projection": 128}, "cls_projection needs"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        head(**options)


def test_the_input_norm_comes_before_everything_else() -> None:
    given = tokens()
    module = head(num_blocks=0, input_norm="layer")
    expected = torch.nn.functional.layer_norm(given.patches, (64,))
    torch.testing.assert_close(module(given).patches, expected)


def test_standardising_comes_before_the_projection_and_is_saved() -> None:
    module = head(num_blocks=0, dim=16, input_norm="standard", pooling="avg")
    assert {"input_norm.mean", "input_norm.std"} < module.state_dict().keys()
    given = tokens()
    assert isinstance(module.input_norm, Standardize)
    module.input_norm.set_statistics(torch.ones(64), torch.full((64,), 2.0))
    assert module.input_projection is not None
    expected = module.input_projection((given.patches - 1) / 2)
    torch.testing.assert_close(module(given).patches, expected)


def test_channels_are_dropped_in_training_alone_and_alike_for_pooled_tokens() -> None:
    module = head(num_blocks=0, dim=16, input_norm="standard", input_dropout=0.5, pooling="avg")
    given = tokens()
    mean = given.patches.mean(dim=1, keepdim=True)
    pooled = Tokens(given.cls, given.registers, mean, (1, 1))
    plain = module.pool(module(given))
    module.train()
    torch.manual_seed(1)
    first = module.pool(module(given))
    torch.manual_seed(1)
    torch.testing.assert_close(module.pool(module(pooled)), first)
    assert not torch.allclose(first, plain)


def test_a_raw_cls_half_is_the_backbone_token_to_a_power() -> None:
    given = tokens()
    raw = RawClsConfig(power=0.5, center=0.25)
    module = head(num_blocks=0, dim=8, pooling="cls_avg", raw_cls=raw)
    assert module.raw_cls is not None
    module.raw_cls.norm.set_statistics(torch.full((64,), 0.4), torch.full((64,), 2.0))
    pooled = module.pool(module(given))
    assert module.embed_dim == pooled.shape[1] == 64 + 8
    expected = (given.cls.sign() * given.cls.abs().sqrt() - 0.25 * 0.4) / 2
    torch.testing.assert_close(pooled[:, :64], expected)
    with pytest.raises(ConfigError, match="raw_cls needs"):
        head(num_blocks=0, pooling="avg", raw_cls=raw)
