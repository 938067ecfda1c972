"""Training steps over real processes, against one process with the whole batch."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from dinotxt.models.dinotxt import DinoTxt
from dinotxt.training.config import ComputeConfig, TrainConfig
from dinotxt.training.distributed.gradients import Gradients
from dinotxt.training.distributed.shards import join, part_of
from dinotxt.training.distributed.world import World, joined
from dinotxt.training.feed.batches import Batch
from dinotxt.training.update.learner import Learner
from dinotxt.training.update.parallel import parallelize

Make = Callable[..., TrainConfig]
Together = Callable[[int, Callable[[int], Any]], list[Any]]
CPU = torch.device("cpu")
STEPS = 5
GRAM = "loss={kind: clip, gram: {weight: 2.0, patches: 3}}"
pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


def batch(step: int, start: int, stop: int) -> Batch:
    generator = torch.Generator().manual_seed(step)
    images = torch.randn(8, 3, 32, 32, generator=generator, dtype=torch.float64)
    ids = torch.randint(1, 49406, (8, 6), generator=generator)
    lengths = torch.randint(1, 7, (8,), generator=generator)
    return Batch(images[start:stop], ids[start:stop], lengths[start:stop])


def micro_batches(step: int, rank: int, size: int, micro: int, dtype: torch.dtype) -> list[Batch]:
    share = 8 // size
    parts = range(rank * share, (rank + 1) * share, micro)
    batches = [batch(step, start, min(start + micro, (rank + 1) * share)) for start in parts]
    return [replace(part, vision=torch.as_tensor(part.vision, dtype=dtype)) for part in batches]


def learner(config: TrainConfig, world: World, dtype: torch.dtype, state: Any = None) -> Learner:
    torch.manual_seed(world.rank + 1 if world.rank else 0)  # only the first one's weights count
    model = DinoTxt.from_config(config.model).to(dtype)
    with torch.no_grad():
        for name, parameter in model.vision_head.named_parameters():
            if "gamma" in name:
                parameter.fill_(1.0)
    return Learner(model, config, world=world, state=state)


def five_steps(
    config: TrainConfig, world: World, dtype: torch.dtype, micro: int = 8, state: Any = None
) -> tuple[list[float], dict[str, Tensor], dict[str, Any]]:
    """Return the losses, the averaged weights and this process's part of the state."""
    # what is loaded becomes the parameters' own storage
    trained = learner(config, world, dtype, copy.deepcopy(state))
    losses = [
        trained.update(step, micro_batches(step, world.rank, world.size, micro, dtype))[0].item()
        for step in range(STEPS)
    ]
    assert trained.is_finite()
    with trained.averaged() as model:
        weights = {name: value.clone() for name, value in model.trainable_state_dict().items()}
    return losses, weights, part_of(trained.state_dict(), world.rank, world.size)


@pytest.mark.parametrize(
    ("count", "dtype", "tolerance"),
    [(2, torch.float64, 1e-10), (2, torch.float32, 1e-5), (4, torch.float64, 1e-10)],
)
def test_processes_train_as_one(
    config: Make, together: Together, count: int, dtype: torch.dtype, tolerance: float
) -> None:
    patches = ("model.vision_head.patch_dropout=0.25", "model.backbone.options.patch_size=8")
    common = ("optim.average=0.9", "optim.clip_norm=0.2", *patches)
    changes = {
        "ddp": (8, ()),
        "ddp, cached": (1, ("compute.exchange=gather", GRAM)),
        "fsdp": (8, ("compute.parallel=fsdp", "compute.activation_checkpointing=true")),
        "fsdp, cached": (1, ("compute.parallel=fsdp", GRAM, "loss.kind=sigmoid")),
    }
    if count > 2:
        changes = {name: changes[name] for name in ("ddp, cached", "fsdp")}
    settings = {name: (micro, config(*common, *own)) for name, (micro, own) in changes.items()}

    def work(rank: int) -> dict[str, Any]:
        with joined(CPU) as world:
            assert (world.rank, world.size) == (rank, count)
            return {
                name: five_steps(own, world, dtype, micro)
                for name, (micro, own) in settings.items()
            }

    results = together(count, work)
    for name, (_, own) in settings.items():
        losses, weights, state = five_steps(own, World(CPU), dtype)
        for result in results:
            torch.testing.assert_close(result[name][0], losses, rtol=0, atol=tolerance)
            if dtype == torch.float64:  # AdamW makes whole steps of the rounding of tiny gradients
                torch.testing.assert_close(result[name][1], weights, rtol=0, atol=1e-9)
        joint = join([result[name][2] for result in results])
        moments, expected = joint["optimizer"]["state"], state["optimizer"]["state"]
        torch.testing.assert_close(moments, expected, rtol=0, atol=tolerance)
        assert joint["optimizer"]["param_groups"] == state["optimizer"]["param_groups"]


@pytest.mark.parametrize("exchange", ["ring", "gather"])
def test_a_process_whose_pairs_are_all_broken_goes_on_with_the_others(
    config: Make, together: Together, exchange: str
) -> None:
    common = (f"compute.exchange={exchange}", "model.vision_head.drop_path=0.5", GRAM)
    settings = [config(*common), config(*common, "compute.parallel=fsdp", "loss.kind=sigmoid")]

    def train(own: TrainConfig, world: World, micro: int) -> tuple[list[float], dict[str, Tensor]]:
        trained = learner(own, world, torch.float64)
        losses = []
        for step in range(3):
            # of the first four pairs two are broken; the second process has none left
            ends = [(0, 1), (1, 2)] if micro == 1 else [(0, 2)]
            if world.rank:
                ends = [(4, 4)] * len(ends)
            parts = [batch(step, *both) for both in ends]
            losses.append(trained.update(step, parts)[0].item())
        with trained.averaged() as model:
            return losses, {name: x.clone() for name, x in model.trainable_state_dict().items()}

    def work(rank: int) -> list[Any]:
        with joined(CPU) as world:
            return [train(own, world, micro) for own in settings for micro in (1, 2)]

    expected = [train(own, World(CPU), micro) for own in settings for micro in (1, 2)]
    for results in together(2, work):
        for (losses, weights), (own_losses, own_weights) in zip(results, expected, strict=True):
            torch.testing.assert_close(losses, own_losses, rtol=0, atol=1e-10)
            torch.testing.assert_close(weights, own_weights, rtol=0, atol=1e-9)


def test_a_state_goes_on_with_another_number_of_processes_and_other_shards(
    config: Make, together: Together
) -> None:
    plain = config("optim.average=0.9")
    sharded = config("optim.average=0.9", "compute.parallel=fsdp")

    def first(rank: int) -> Any:
        with joined(CPU) as world:
            return five_steps(sharded, world, torch.float64)[2]

    state = join(together(2, first))
    losses, weights, _ = five_steps(plain, World(CPU), torch.float64, state=state)

    def second(rank: int) -> Any:
        with joined(CPU) as world:
            return five_steps(sharded, world, torch.float64, state=state)[:2]

    for result in together(4, second):
        torch.testing.assert_close(result[0], losses, rtol=0, atol=1e-10)
        torch.testing.assert_close(result[1], weights, rtol=0, atol=1e-9)


def test_a_state_goes_on_to_the_same_bits_with_as_many_processes(
    config: Make, together: Together
) -> None:
    settings = config("optim.average=0.9", "model.text_encoder.width=96")

    def work(rank: int) -> None:
        with joined(CPU) as world:

            def train(trained: Learner, steps: range) -> dict[str, Tensor]:
                for step in steps:
                    trained.update(step, micro_batches(step, rank, 3, 8, torch.float32))
                return trained.model.trainable_state_dict()

            whole = learner(settings, world, torch.float32)
            train(whole, range(2))
            state = copy.deepcopy(whole.state_dict())
            expected = train(whole, range(2, STEPS))
            again = train(learner(settings, world, torch.float32, state), range(2, STEPS))
            torch.testing.assert_close(again, expected, rtol=0, atol=0)

    together(3, work)


def test_one_process_that_torchrun_started_trains_as_one_by_itself(
    config: Make, together: Together
) -> None:
    def work(rank: int) -> Any:
        with joined(CPU) as world:
            return [five_steps(config(), one, torch.float64)[:2] for one in (world, World(CPU))]

    ((launched, alone),) = together(1, work)
    assert launched[0] == alone[0]
    torch.testing.assert_close(launched[1], alone[1], rtol=0, atol=0)


def test_rows_that_no_process_looked_up_do_not_travel(together: Together) -> None:
    class Towers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.backbone = nn.Embedding(5000, 2), None
            self.scale = nn.Linear(2, 1)

        def forward(self, ids: Tensor, *, is_looked_up: bool) -> Tensor:
            rows = self.words(ids) if is_looked_up else self.words.weight[ids]
            total: Tensor = self.scale(rows).sum()
            return total

    def work(rank: int) -> list[int]:
        travelled = []

        class Counting(World):
            def average_rows(self, tensor: Tensor, rows: Tensor) -> None:
                travelled.append(len(rows))
                super().average_rows(tensor, rows)

        with joined(CPU) as world:
            torch.manual_seed(0)
            alone = Towers()
            towers = copy.deepcopy(alone)
            copies = parallelize(towers, ComputeConfig(), world)  # type: ignore[arg-type]
            gradients = Gradients(copies, Counting(CPU, rank, 2, world.control))
            parts = [torch.tensor([7, 9]), torch.tensor([7, 3000])]
            for is_looked_up in (True, False):
                copies(parts[rank], is_looked_up=is_looked_up).backward()
                gradients.finish()
                (sum(alone(part, is_looked_up=True) for part in parts) / 2).backward()
                for mine, expected in zip(towers.parameters(), alone.parameters(), strict=True):
                    torch.testing.assert_close(mine.grad, expected.grad)
                copies.zero_grad()
                alone.zero_grad()
        return travelled

    assert together(2, work) == [[3, 5000]] * 2


def test_a_tuned_text_encoder_with_all_captions_trains_as_one(
    config: Make, together: Together, tmp_path: Path
) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 32}
    bert = transformers.BertConfig(vocab_size=50, num_attention_heads=2, **sizes)
    transformers.BertModel(bert, add_pooling_layer=False).save_pretrained(tmp_path / "bert")
    text = f"{{kind: pretrained, name: {tmp_path}/bert, trainable_layers: 1}}"
    common = ("data.captions=all", f"model.text_encoder={text}")
    settings = [config(*common), config(*common, "compute.parallel=fsdp")]
    owners = torch.tensor([0, 0, 1, 2, 3, 3])

    def captioned(pictures: slice) -> Batch:
        mine = (owners >= pictures.start) & (owners < pictures.stop)
        images = batch(0, pictures.start, pictures.stop).vision
        ids, lengths = torch.arange(1, 31).view(6, 5)[mine], torch.arange(6)[mine] % 5 + 1
        return Batch(images, ids, lengths, owners[mine] - pictures.start)

    def train(own: TrainConfig, world: World) -> tuple[list[float], dict[str, Tensor]]:
        share = 4 // world.size
        part = captioned(slice(world.rank * share, (world.rank + 1) * share))
        trained = learner(own, world, torch.float64)
        losses = [trained.update(step, [part])[0].item() for step in range(3)]
        with trained.averaged() as model:
            return losses, {name: x.clone() for name, x in model.trainable_state_dict().items()}

    def work(rank: int) -> list[Any]:
        with joined(CPU) as world:
            return [train(own, world) for own in settings]

    losses, weights = train(settings[0], World(CPU))
    for result in (found for rank in together(2, work) for found in rank):
        torch.testing.assert_close(result[0], losses, rtol=0, atol=1e-10)
        torch.testing.assert_close(result[1], weights, rtol=0, atol=1e-9)
