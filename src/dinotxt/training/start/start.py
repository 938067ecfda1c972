"""What the trained parameters of a new run start from."""

import torch
from torch import Tensor

from dinotxt.checkpoints.format import load_model
from dinotxt.errors import ConfigError
from dinotxt.models.dinotxt import DinoTxt
from dinotxt.training.config import ModelStartConfig, RidgeConfig
from dinotxt.training.feed.batches import Batches
from dinotxt.training.start.ridge import start_from_ridge


def start(
    model: DinoTxt,
    batches: Batches,
    config: RidgeConfig | ModelStartConfig,
    *,
    device: torch.device,
) -> None:
    """Set the trained parameters of a model in eval mode on ``device``.

    Raises:
        ConfigError: If the model does not suit the start.
        CheckpointError: If a saved model cannot be loaded, or is of another architecture.
    """
    if isinstance(config, RidgeConfig):
        start_from_ridge(model, batches, config, device=device)
        return
    if not config.path.is_dir():
        raise ConfigError(f"start.path: there is no model folder {config.path}: train it first.")
    saved = load_model(config.path).model.trainable_state_dict()
    model.load_trainable(saved | _fresh(model, config.fresh), config.path)


def _fresh(model: DinoTxt, prefixes: tuple[str, ...]) -> dict[str, Tensor]:
    """Return the parameters of a model whose names begin so."""
    own = model.trainable_state_dict()
    unknown = [prefix for prefix in prefixes if not any(name.startswith(prefix) for name in own)]
    if unknown:
        raise ConfigError(f"start.fresh: no trained parameter's name begins with {unknown[0]}.")
    return {name: value for name, value in own.items() if name.startswith(prefixes)}
