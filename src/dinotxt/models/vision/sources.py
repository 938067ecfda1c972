"""Where a backbone's module comes from: timm, a Hugging Face folder or a user's function."""

import difflib
import importlib
import sys
import warnings
from typing import Any

import timm
import torch
from torch import nn

from dinotxt.errors import CheckpointError, ConfigError, DinotxtError
from dinotxt.models.config import BackboneConfig
from dinotxt.models.vision.huggingface import HuggingFaceVision
from dinotxt.models.vision.position import PositionEmbedding
from dinotxt.models.weights import load_backbone_weights

_HUGGING_FACE = "hf:"
_RANDOM_SEED = 0


def build_module(config: BackboneConfig) -> Any:
    """Build the module that a configuration names, with its weights.

    Random weights of a frozen backbone come from a fixed seed, so they can be made again.

    Raises:
        ConfigError: If the name or an option is unknown.
        CheckpointError: If the weights are missing or do not fit.
    """
    if config.name.startswith(_HUGGING_FACE):
        return HuggingFaceVision(config.name.removeprefix(_HUGGING_FACE))
    weights = _weights(config)
    if weights != "random" or not config.frozen:
        module = _create(config, weights)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_RANDOM_SEED)
            module = _create(config, weights)
    if weights not in {"random", "pretrained"}:
        load_backbone_weights(module, weights)
    return module


def _weights(config: BackboneConfig) -> str:
    if config.weights is not None:
        return config.weights
    if ":" in config.name:
        return "random"  # the function is asked for a module, with whatever weights it has
    if "." in config.name:
        return "pretrained"
    message = (
        f"backbone {config.name} has random weights: set `backbone.weights` to a file, or to"
        " `random` if that is meant."
    )
    warnings.warn(message, stacklevel=2)
    return "random"


def _create(config: BackboneConfig, weights: str) -> Any:
    if ":" in config.name:
        return _call(config)
    return _create_timm(config, pretrained=weights == "pretrained")


def _call(config: BackboneConfig) -> nn.Module:
    module_name, _, function_name = config.name.partition(":")
    if module_name.partition(".")[0] in sys.stdlib_module_names:
        message = (
            f"backbone.name {config.name!r} is in the standard library, which has no backbone."
        )
        raise ConfigError(message)
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError) as error:
        message = f"backbone.name {config.name!r}: {error}; write `package.module:function`."
        raise ConfigError(message) from None
    try:
        module: nn.Module = function(**config.options)
    except DinotxtError:
        raise
    except Exception as error:  # the user's code fails in any way
        raise ConfigError(f"{config.name} failed: {type(error).__name__}: {error}.") from error
    for attribute in ("forward_features", "num_features"):
        if not isinstance(module, nn.Module) or not hasattr(module, attribute):
            message = f"{config.name} must return a module with `{attribute}`, as timm's have."
            raise ConfigError(message)
    return module


def _create_timm(config: BackboneConfig, *, pretrained: bool) -> Any:
    arguments = {"num_classes": 0, "in_chans": config.in_channels, "pretrained": pretrained}
    arguments |= config.options
    try:
        if not timm.is_model(config.name):
            raise ConfigError(_unknown_name(config.name))
        try:
            module = timm.create_model(config.name, dynamic_img_size=True, **arguments)
        except TypeError as error:
            if "dynamic_img_size" not in str(error):
                raise
            module = timm.create_model(config.name, **arguments)
    except TypeError as error:
        raise ConfigError(f"backbone.options do not suit {config.name}: {error}") from None
    except (OSError, RuntimeError) as error:
        message = (
            f"timm cannot get {config.name} ({str(error).splitlines()[0]}): download the weights"
            " where there is a network and set `backbone.weights` to the file."
        )
        raise CheckpointError(message) from None
    _set_positions(module, config.name)
    return module


def _set_positions(module: Any, name: str) -> None:
    """Give timm's plain vision transformers Meta's resampling rule."""
    plain = timm.models.VisionTransformer
    if getattr(type(module), "_pos_embed", None) is not plain._pos_embed:
        return
    if module.pos_embed is None:
        return
    is_dinov2 = name.partition(".")[0].endswith("_dinov2")
    offset_rule = is_dinov2 and module.reg_token is None
    object.__setattr__(module, "_pos_embed", PositionEmbedding(module, offset_rule=offset_rule))


def _unknown_name(name: str) -> str:
    near = difflib.get_close_matches(name.partition(".")[0], timm.list_models(), n=3)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return f"backbone.name {name!r} is not known to timm.{hint}"
