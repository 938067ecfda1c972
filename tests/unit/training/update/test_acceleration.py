from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dinotxt.models.dinotxt import DinoTxt
from dinotxt.models.text.text_encoder import TextBlock
from dinotxt.models.vision.blocks import VisionBlock
from dinotxt.training.config import ComputeConfig, TrainConfig
from dinotxt.training.distributed.world import World
from dinotxt.training.feed.batches import Batch
from dinotxt.training.update.acceleration import accelerate, autocast
from dinotxt.training.update.objective import Objective
from dinotxt.training.update.step import TrainingStep
from dinotxt.training.update.towers import TrainedTowers

Make = Callable[..., TrainConfig]
CPU = torch.device("cpu")


def gradients(config: TrainConfig) -> tuple[Tensor, dict[str, Tensor]]:
    """Take one step of a model in float64 on a few random pictures."""
    torch.manual_seed(0)
    model = DinoTxt.from_config(config.model).double().train()
    towers = TrainedTowers(model, captions="drawn")
    accelerate(towers.blocks(), config.compute)
    step = TrainingStep(model, towers, Objective(config.loss), config, World(CPU))
    images = torch.randn(5, 3, 32, 32, dtype=torch.float64)
    batch = Batch(images, torch.randint(1, 49406, (5, 6)), torch.randint(1, 7, (5,)))
    loss = step(0, [batch])
    return loss, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def test_checkpointed_activations_give_the_same_gradients(config: Make) -> None:
    loss, expected = gradients(config())
    found, other = gradients(config("compute.activation_checkpointing=true"))
    assert torch.equal(found, loss)
    torch.testing.assert_close(other, expected, rtol=0, atol=1e-14)


def test_checkpointing_keeps_fewer_activations(config: Make) -> None:
    def kept(*changes: str) -> int:
        sizes: list[int] = []

        def pack(tensor: Tensor) -> Tensor:
            sizes.append(tensor.nbytes)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            gradients(config(*changes))
        return sum(sizes)

    assert kept("compute.activation_checkpointing=true") < kept()


@pytest.mark.filterwarnings("ignore::UserWarning")  # the compiler's own
@pytest.mark.parametrize("frozen", ["true", "false"])
def test_compiled_blocks_give_the_same_gradients(
    config: Make, frozen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[object] = []

    def through_dynamo(target: Callable[..., Any]) -> object:
        compiled.append(target)
        return torch._dynamo.optimize("eager")(target)

    monkeypatch.setattr(torch, "compile", through_dynamo)
    monkeypatch.setattr(nn.Module, "compile", lambda module: compiled.append(module))
    trained = f"model.backbone.frozen={frozen}"
    loss, expected = gradients(config(trained))
    found, other = gradients(config(trained, "compute.compile=true"))
    assert len(compiled) == (2 if frozen == "true" else 3)
    torch.testing.assert_close(found, loss, rtol=0, atol=1e-12)
    torch.testing.assert_close(other, expected, rtol=0, atol=1e-12)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_the_real_compiler_agrees_on_batches_of_changing_length(config: Make) -> None:
    torch.manual_seed(0)
    text, vision = TextBlock(32, 2), VisionBlock(32, 2, drop_path=0.0, index=0)
    inputs = [(torch.randn(n, 32), torch.randn(n, 5, 32)) for n in (3, 7, 9)]
    expected = [(text.feed_forward(row), vision(tokens)) for row, tokens in inputs]
    accelerate([text, vision], ComputeConfig(compile=True))
    for (row, tokens), wanted in zip(inputs, expected, strict=True):
        found = (text.feed_forward(row), vision(tokens))
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_bfloat16_runs_the_towers_alone(config: Make) -> None:
    kinds: list[torch.dtype] = []
    settings = config("compute.precision=bfloat16")
    torch.manual_seed(0)
    model = DinoTxt.from_config(settings.model).train()
    objective = Objective(settings.loss)
    objective.register_forward_pre_hook(lambda _, given: kinds.append(given[1].dtype))
    towers = TrainedTowers(model, captions="drawn")
    step = TrainingStep(model, towers, objective, settings, World(CPU))
    batch = Batch(torch.randn(4, 3, 32, 32), torch.ones(4, 5).long(), torch.full((4,), 5))
    assert step(0, [batch]).dtype == torch.float32
    assert kinds == [torch.bfloat16]
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert {grad.dtype for grad in grads} == {torch.float32}


def test_a_device_without_bfloat16_stays_in_float32_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    with autocast(ComputeConfig(precision="bfloat16"), torch.device("cuda")):
        assert not torch.is_autocast_enabled("cuda")
    assert "no bfloat16" in caplog.text
