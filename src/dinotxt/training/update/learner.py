"""The model with all that changes while it learns: optimiser, loss parameters, averages."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dinotxt.inference.loading import keep_freed_memory
from dinotxt.models.dinotxt import DinoTxt
from dinotxt.training.config import TrainConfig
from dinotxt.training.distributed import Gradients, World, local
from dinotxt.training.feed import Batch
from dinotxt.training.profile import phase
from dinotxt.training.update.acceleration import accelerate
from dinotxt.training.update.objective import Objective
from dinotxt.training.update.optim import MovingAverage, Optimizer, freeze
from dinotxt.training.update.parallel import WholeModel, parallelize
from dinotxt.training.update.step import TrainingStep
from dinotxt.training.update.towers import TrainedTowers


class Learner:
    """Updates a model, and packs and unpacks its state.

    Args:
        model: The model, on any device.
        config: The run's configuration.
        world: The processes and the device of this one.
        lies_under: See ``Objective``.
        state: What ``state_dict`` gave, to go on from.
        source: Where the state comes from, for errors.
    """

    def __init__(
        self,
        model: DinoTxt,
        config: TrainConfig,
        *,
        world: World,
        lies_under: Tensor | None = None,
        state: Mapping[str, Any] | None = None,
        source: Path = Path(),
    ) -> None:
        if world.device.type == "cpu":
            keep_freed_memory()
        if state is not None:
            model.load_trainable(state["model"], source)
        freeze(model, config.optim)
        self.model = model.to(world.device).train()
        self.world = world
        self.objective = Objective(
            config.loss,
            world.exchange(config.compute.exchange),
            cls_dim=model.vision_head.cls_dim if model.half_weights else None,
            lies_under=lies_under,
        )
        self.objective.to(world.device)
        if state is not None:
            self.objective.load_state_dict(state["objective"])
        self._whole, towers = self._share(config)
        self._gradients = Gradients(towers, world)
        named = list(self._named_parameters())
        self._scalars = [value for _, value in named if value.ndim == 0 and value.requires_grad]
        self.optimizer = Optimizer(named, config.optim, steps=config.steps)
        self.average = None
        if config.optim.average is not None:
            self.average = MovingAverage(named, config.optim.average)
        self._step = TrainingStep(model, towers, self.objective, config, world)
        if state is not None:
            self.optimizer.load_state_dict(state["optimizer"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])

    def update(self, step: int, batches: Sequence[Batch]) -> tuple[Tensor, float]:
        """Take a step (from 0) and return its loss, still on the device, and learning rate."""
        loss = self._step(step, batches)
        with phase("backward"):
            self._gradients.finish()
        with phase("optimiser"):
            self.world.average(value.grad for value in self._scalars if value.grad is not None)
            lr = self.optimizer.update(step)
            self.model.clamp_logit_scale()
            if self.average is not None:
                self.average.update(step)
        return loss, lr

    @contextmanager
    def averaged(self) -> Iterator[DinoTxt]:
        """Give the model in eval mode with the averaged weights, where there are any."""
        self.model.eval()
        if self.average is not None:
            self.average.swap()
        try:
            with self._plain() as model:
                yield model
        finally:
            if self.average is not None:
                self.average.swap()
            self.model.train()

    def is_finite(self) -> bool:
        """Tell if every trained parameter is a finite number."""
        flags = [torch.isfinite(local(value)).all() for value in self.optimizer.parameters]
        return not self.world.any(not torch.stack(flags).all())

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a later process needs to go on exactly."""
        return {
            "model": self.model.trainable_state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict() if self.average is not None else {},
        }

    def _share(self, config: TrainConfig) -> tuple[WholeModel | None, nn.Module]:
        """Divide the work among the processes, which begin with equal weights."""
        self.world.equalize(self.model.trainable_state_dict().values())
        is_sharded = self.world.control is not None and config.compute.parallel == "fsdp"
        kept = WholeModel(self.model) if is_sharded else None
        towers = TrainedTowers(
            self.model,
            captions=config.data.captions,
            mixup=config.data.mixup,
            gram=config.loss.gram,
        )
        accelerate(towers.blocks(), config.compute)
        return kept, parallelize(towers, config.compute, self.world)

    def _plain(self) -> AbstractContextManager[DinoTxt]:
        return self._whole.filled(self.model) if self._whole else nullcontext(self.model)

    def _named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        yield from self.model.named_parameters()
        yield from self.objective.named_parameters(prefix="objective")
