"""The model with all that changes while it learns: optimiser, loss parameters, averages."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dinotxt.models.dinotxt import DinoTxt
from dinotxt.training.batches import Batch
from dinotxt.training.config import TrainConfig
from dinotxt.training.objective import Objective
from dinotxt.training.optim import MovingAverage, Optimizer
from dinotxt.training.step import TrainingStep


class Learner:
    """Updates a model, and packs and unpacks its state.

    Args:
        model: The model, on any device.
        config: The run's configuration.
        device: Where to train.
        state: What ``state_dict`` gave, to go on from.
        source: Where the state comes from, for errors.
    """

    def __init__(
        self,
        model: DinoTxt,
        config: TrainConfig,
        *,
        device: torch.device,
        state: Mapping[str, Any] | None = None,
        source: Path = Path(),
    ) -> None:
        if state is not None:
            model.load_trainable(state["model"], source)
        self.model = model.to(device).train()
        self.objective = Objective(config.loss).to(device)
        named = list(self._named_parameters())
        self.optimizer = Optimizer(named, config.optim, steps=config.steps)
        self.average = None
        if config.optim.average is not None:
            self.average = MovingAverage(named, config.optim.average)
        self._step = TrainingStep(
            model, self.objective, config.data, seed=config.seed, device=device
        )
        if state is not None:
            self.objective.load_state_dict(state["objective"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])

    def update(self, step: int, batches: Sequence[Batch]) -> tuple[Tensor, float]:
        """Take a step (from 0) and return its loss, still on the device, and learning rate."""
        loss = self._step(step, batches)
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
            yield self.model
        finally:
            if self.average is not None:
                self.average.swap()
            self.model.train()

    def is_finite(self) -> bool:
        """Tell if every trained parameter is a finite number."""
        flags = [torch.isfinite(value).all() for value in self.optimizer.parameters]
        return bool(torch.stack(flags).all())

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a later process needs to go on exactly."""
        return {
            "model": self.model.trainable_state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict() if self.average is not None else {},
        }

    def _named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        yield from self.model.named_parameters()
        yield from self.objective.named_parameters(prefix="objective")
