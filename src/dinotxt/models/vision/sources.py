"""Where a backbone's module comes from: timm, a Hugging Face folder or a user's function."""

import difflib
import importlib
import inspect
import re
import sys
import warnings
from collections.abc import Mapping
from typing import Any

import timm
import torch
from timm.models import build_model_with_cfg
from torch import nn

from dinotxt.errors import CheckpointError, ConfigError, DinotxtError
from dinotxt.models.config import BackboneConfig
from dinotxt.models.fitting import keep_periods, load_backbone_weights
from dinotxt.models.vision.huggingface import HuggingFaceVision
from dinotxt.models.vision.position import PositionEmbedding

_HUGGING_FACE = "hf:"
_RANDOM_SEED = 0
_LARGEST_OPTION = 65_536
_WORD = re.compile(r"[\w.-]{0,64}")  # a layer's or a pooling's name: no path, no URL
_OURS = {"num_classes", "in_chans", "features_only", "out_indices", "feature_cls", "output_fmt"}
_BUILDERS = (timm.create_model, build_model_with_cfg)


def build_module(config: BackboneConfig, *, trust_code: bool = False) -> Any:
    """Build the module that a configuration names, with its weights.

    Random weights of a frozen backbone come from a fixed seed, so they can be made again. This is
    the one place where a name in a configuration is called.

    Args:
        config: Which module.
        trust_code: Whether ``package.module:function`` may be called: the user named it, or trusts
            who did.

    Raises:
        ConfigError: If the name or an option is unknown, or would run code that is not trusted.
        CheckpointError: If the weights are missing or do not fit.
    """
    if config.name.startswith(_HUGGING_FACE):
        return HuggingFaceVision(config.name.removeprefix(_HUGGING_FACE))
    create = _call if ":" in config.name else _create_timm
    if create is _call and not trust_code:
        raise ConfigError(_would_run(config.name))
    weights = _weights(config)
    if weights != "random" or not config.frozen:
        module = create(config, weights)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_RANDOM_SEED)
            module = create(config, weights)
    if not config.frozen:
        keep_periods(module)
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


def check_options(options: Mapping[str, Any]) -> None:
    """Pass if options are plain values for a network's own arguments.

    What timm itself takes (``checkpoint_path``, ``pretrained_cfg``, ``cache_dir``, ...) would read
    files and addresses, and is no business of a configuration.

    Raises:
        ConfigError: If one is not; the message names it.
    """
    library = _OURS.union(*(inspect.signature(one).parameters for one in _BUILDERS)) - {"kwargs"}
    for key, value in options.items():
        if key in library or key.startswith(("pretrained", "checkpoint")):
            message = f"backbone.options.{key} is no argument of a network: leave it out"
            raise ConfigError(f"{message}; weights are named by backbone.weights.")
        if not _is_plain(value):
            message = f"backbone.options.{key}: {value!r} is not a number, a word or a list of them"
            raise ConfigError(f"{message} (no path, no address).")


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_is_plain(key) and _is_plain(one) for key, one in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, str):
        return _WORD.fullmatch(value) is not None
    return value is None or (isinstance(value, int | float) and abs(value) <= _LARGEST_OPTION)


def _would_run(name: str) -> str:
    return (
        f"backbone.name {name!r} is a function, and a model's files may run no code: look at it,"
        " and give --trust-code (in Python trust_code=True) if you trust who wrote it."
    )


def _call(config: BackboneConfig, weights: str) -> nn.Module:
    del weights  # the function brings its own
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
    if not isinstance(module, nn.Module) or not hasattr(module, "forward_features"):
        message = f"{config.name} must return a module with `forward_features`, as timm's have."
        raise ConfigError(message)
    return module


def _create_timm(config: BackboneConfig, weights: str) -> Any:
    check_options(config.options)
    arguments = {"num_classes": 0, "in_chans": config.in_channels, **config.options}
    arguments["pretrained"] = weights == "pretrained"
    try:
        if not timm.is_model(config.name):
            raise ConfigError(_unknown_name(config.name))
        try:
            module = timm.create_model(config.name, dynamic_img_size=True, **arguments)
        except TypeError as error:
            if "dynamic_img_size" not in str(error):
                raise
            module = timm.create_model(config.name, **arguments)
    except ConfigError:
        raise
    except Exception as error:  # a value that the network cannot be built with fails in any way
        raise _failed(config.name, weights, error) from None
    _set_positions(module, config.name)
    return module


def _failed(name: str, weights: str, error: Exception) -> DinotxtError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    if weights != "pretrained" or isinstance(error, TypeError):
        return ConfigError(f"backbone.options do not suit {name}: {reason}")
    return CheckpointError(
        f"timm cannot get {name} ({reason}): download the weights where there is a network and set"
        " `backbone.weights` to the file."
    )


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
