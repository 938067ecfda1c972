"""AdamW over the trained parameters (hyper-parameters after DINOv3's text recipe)."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dinotxt.errors import ConfigError
from dinotxt.training.config import AdamWConfig, GroupConfig
from dinotxt.training.distributed import cut_like, local, whole

_NORM_FLOOR = 1e-6  # as in PyTorch's own clipping
_NO_DECAY = ("norm", "ln_", "bn", "bias", "logit_scale")


def learning_rate_factor(step: int, *, steps: int, warmup_steps: int) -> float:
    """Return the share of the peak learning rate: a linear warm-up, then a cosine to zero.

    Args:
        step: The step about to be taken, from 0.
        steps: The length of the run.
        warmup_steps: Steps until the peak; step ``warmup_steps - 1`` is the first at the peak.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(steps - warmup_steps, 1)
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def freeze(model: nn.Module, config: AdamWConfig) -> None:
    """Stop the gradients of parameters whose group has a learning-rate factor of 0.

    Raises:
        ConfigError: If such a group fits no parameter, or nothing is left to train.
    """
    unused = {group.prefix for group in config.groups if group.lr_factor == 0}
    for name, parameter in model.named_parameters():
        own = _own_group(name, config)
        if own is not None and own.lr_factor == 0:
            unused.discard(own.prefix)
            parameter.requires_grad_(False)
    if unused:
        raise ConfigError(f"optim.groups: no parameter begins with {sorted(unused)}.")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError("optim.groups freeze everything: give some lr_factor above 0.")


def _own_group(name: str, config: AdamWConfig) -> GroupConfig | None:
    return next((group for group in config.groups if name.startswith(group.prefix)), None)


def parameter_groups(
    named_parameters: Iterable[tuple[str, nn.Parameter]], config: AdamWConfig
) -> list[dict[str, Any]]:
    """Split the trained parameters by weight decay and by learning-rate factor.

    Weight decay falls on matrices only: nothing with fewer than two dimensions and no norm,
    bias or logit scale. Embeddings do decay. Scalars, which are never sharded, stand apart.

    Args:
        named_parameters: Every parameter by its name in the model.
        config: The optimiser's settings.

    Returns:
        AdamW groups with the extra key ``factor``, the group's share of the learning rate.

    Raises:
        ConfigError: If a prefix of ``config.groups`` fits no trained parameter.
    """
    groups: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    unused = {group.prefix for group in config.groups if group.lr_factor}
    for name, parameter in named_parameters:
        if not parameter.requires_grad:
            continue
        own = _own_group(name, config)
        decay, factor = config.weight_decay, 1.0
        if own is not None:
            unused.discard(own.prefix)
            factor = own.lr_factor
            decay = decay if own.weight_decay is None else own.weight_decay
        if parameter.ndim < 2 or any(part in name for part in _NO_DECAY):
            decay = 0.0
        groups.setdefault((decay, factor, parameter.ndim == 0), []).append(parameter)
    if unused:
        raise ConfigError(f"optim.groups: no trained parameter begins with {sorted(unused)}.")
    return [
        {"params": parameters, "weight_decay": decay, "factor": factor}
        for (decay, factor, _), parameters in groups.items()
    ]


class Optimizer:
    """AdamW with the schedule and the clipping of a run.

    Args:
        named_parameters: Everything that trains.
        config: The optimiser's settings.
        steps: The length of the run.
    """

    def __init__(
        self,
        named_parameters: Iterable[tuple[str, nn.Parameter]],
        config: AdamWConfig,
        *,
        steps: int,
    ) -> None:
        self.config = config
        self.steps = steps
        groups = parameter_groups(named_parameters, config)
        self.parameters: list[nn.Parameter] = [p for group in groups for p in group["params"]]
        self._adamw = torch.optim.AdamW(
            groups,
            lr=config.lr,
            betas=config.betas,
            eps=config.eps,
            fused=all(parameter.device.type in {"cpu", "cuda"} for parameter in self.parameters),
        )

    def update(self, step: int) -> float:
        """Apply the gradients with the learning rate of ``step`` (from 0), then drop them.

        Returns:
            The learning rate.
        """
        factor = learning_rate_factor(step, steps=self.steps, warmup_steps=self.config.warmup_steps)
        lr = self.config.lr * factor
        for group in self._adamw.param_groups:
            group["lr"] = lr * group["factor"]
        if self.config.clip_norm is not None:
            self._clip(self.config.clip_norm)
        self._adamw.step()
        self._adamw.zero_grad(set_to_none=True)
        return lr

    def state_dict(self) -> dict[str, Any]:
        """Return the moments and counters."""
        return self._adamw.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the moments and counters, which are whole tensors."""
        moments = {
            number: {name: cut_like(value, self.parameters[number]) for name, value in own.items()}
            for number, own in state["state"].items()
        }
        self._adamw.load_state_dict({**state, "state": moments})

    def _clip(self, largest: float) -> None:
        """Scale the gradients down to a norm over all shards and scalars."""
        scalars = [value for value in self.parameters if value.ndim == 0]
        others = [value for value in self.parameters if value.ndim > 0]
        if all(local(value) is value for value in others):
            nn.utils.clip_grad_norm_(self.parameters, largest)
            return
        norms = [
            whole(nn.utils.get_total_norm([p.grad for p in part if p.grad is not None]))
            for part in (scalars, others)
        ]
        factor = (largest / (torch.hypot(*norms) + _NORM_FLOOR)).clamp(max=1)
        gradients = [local(p.grad) for p in self.parameters if p.grad is not None]
        torch._foreach_mul_(gradients, factor)


class MovingAverage:
    """An exponential moving average of the trained parameters.

    Args:
        named_parameters: What to follow.
        decay: The weight of the past, below 1; the first steps use ``(step + 1) / (step + 10)``
            where that is smaller.
    """

    def __init__(self, named_parameters: Iterable[tuple[str, nn.Parameter]], decay: float) -> None:
        self.decay = decay
        self._live = {n: p for n, p in named_parameters if p.requires_grad}
        self._shadow = {n: p.detach().clone() for n, p in self._live.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the parameters after ``step`` (from 0)."""
        weight = 1 - min(self.decay, (step + 1) / (step + 10))
        shadows = [local(shadow) for shadow in self._shadow.values()]
        torch._foreach_lerp_(shadows, [local(live) for live in self._live.values()], weight)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the averages and the live parameters; call again to undo it."""
        for name, parameter in self._live.items():
            held = parameter.clone()
            parameter.copy_(self._shadow[name])
            self._shadow[name].copy_(held)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averages by name."""
        return self._shadow

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the averages."""
        for name, shadow in self._shadow.items():
            local(shadow).copy_(local(cut_like(state[name], shadow)))
