import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from dinotxt.errors import ConfigError
from dinotxt.training.config import AdamWConfig, GroupConfig
from dinotxt.training.update.optim import (
    MovingAverage,
    Optimizer,
    learning_rate_factor,
    parameter_groups,
)


def test_warm_up_rises_to_the_peak_and_the_cosine_falls_to_zero() -> None:
    factors = [learning_rate_factor(step, steps=20, warmup_steps=4) for step in range(20)]
    assert factors[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert factors[12] == 0.5
    assert all(a > b for a, b in pairwise(factors[4:]))
    assert math.isclose(factors[19], 0.5 * (1 + math.cos(math.pi * 15 / 16)))


def test_a_run_without_warm_up_starts_at_the_peak() -> None:
    assert learning_rate_factor(0, steps=10, warmup_steps=0) == 1.0
    assert learning_rate_factor(10, steps=10, warmup_steps=0) == 0.0


def test_a_run_shorter_than_its_warm_up_only_rises() -> None:
    assert [learning_rate_factor(step, steps=3, warmup_steps=10) for step in range(3)] == [
        0.1,
        0.2,
        0.3,
    ]


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.text_encoder = nn.ModuleDict({"fc": nn.Linear(2, 2), "embedding": nn.Embedding(3, 2)})
        self.head = nn.Linear(2, 2)
        self.ln_final = nn.LayerNorm(2)
        self.logit_scale = nn.Parameter(torch.zeros(1, 1))
        self.frozen = nn.Parameter(torch.zeros(2, 2), requires_grad=False)


def grouped(config: AdamWConfig) -> dict[str, tuple[float, float]]:
    model = Model()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: (group["weight_decay"], group["factor"])
        for group in parameter_groups(model.named_parameters(), config)
        for parameter in group["params"]
    }


def test_decay_falls_on_matrices_and_embeddings_alone() -> None:
    decays = {name: decay for name, (decay, _) in grouped(AdamWConfig(weight_decay=0.3)).items()}
    assert decays == {
        "text_encoder.fc.weight": 0.3,
        "text_encoder.embedding.weight": 0.3,
        "head.weight": 0.3,
        "text_encoder.fc.bias": 0.0,
        "head.bias": 0.0,
        "ln_final.weight": 0.0,
        "ln_final.bias": 0.0,
        "logit_scale": 0.0,
    }


def test_a_group_that_fits_no_parameter_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"optim\.groups: .*'frozen', 'txt"):
        grouped(AdamWConfig(groups=(GroupConfig(prefix="txt"), GroupConfig(prefix="frozen"))))


def test_the_text_encoder_may_learn_at_its_own_rate() -> None:
    text = GroupConfig(prefix="text_encoder.", lr_factor=0.1, weight_decay=0.5)
    groups = grouped(AdamWConfig(groups=(text, GroupConfig(prefix="logit_scale", lr_factor=0.2))))
    assert groups["text_encoder.fc.weight"] == (0.5, 0.1)
    assert groups["text_encoder.fc.bias"] == (0.0, 0.1)
    assert groups["head.weight"] == (0.1, 1.0)
    assert groups["logit_scale"] == (0.0, 0.2)
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = Optimizer(
        [("text_encoder.w", parameter)],
        AdamWConfig(lr=0.1, groups=(text,), warmup_steps=0),
        steps=10,
    )
    parameter.grad = torch.ones(1)
    assert optimizer.update(0) == 0.1
    assert parameter.item() == pytest.approx(-0.01)
    assert parameter.grad is None


def test_the_gradient_is_clipped_by_its_norm() -> None:
    moved = []
    for clip in (None, 0.5):
        parameter = nn.Parameter(torch.zeros(4))
        config = AdamWConfig(lr=0.1, eps=1.0, warmup_steps=0, clip_norm=clip)
        optimizer = Optimizer([("w", parameter)], config, steps=10)
        parameter.grad = torch.full((4,), 5.0)
        optimizer.update(0)
        moved.append(-parameter[0].item())
    assert moved[0] == pytest.approx(0.1 * 5 / 6)
    assert moved[1] == pytest.approx(0.1 * 0.25 / 1.25, rel=1e-4)


def test_a_restored_optimizer_continues_exactly() -> None:
    def run(steps: range, parameter: nn.Parameter, optimizer: Optimizer) -> None:
        for step in steps:
            parameter.grad = torch.sin(parameter.detach() + step)
            optimizer.update(step)

    config = AdamWConfig(warmup_steps=2)
    whole = nn.Parameter(torch.arange(5.0))
    run(range(6), whole, Optimizer([("w", whole)], config, steps=6))
    first = nn.Parameter(torch.arange(5.0))
    optimizer = Optimizer([("w", first)], config, steps=6)
    run(range(3), first, optimizer)
    second = nn.Parameter(first.detach().clone())
    restored = Optimizer([("w", second)], config, steps=6)
    restored.load_state_dict(optimizer.state_dict())
    run(range(3, 6), second, restored)
    assert torch.equal(whole, second)


def test_the_average_starts_near_the_weights_and_can_be_swapped_in() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    average = MovingAverage([("w", parameter)], decay=0.99)
    with torch.no_grad():
        parameter.fill_(10.0)
    average.update(0)
    average.swap()
    assert parameter.item() == pytest.approx(9.0)
    average.swap()
    assert parameter.item() == 10.0
