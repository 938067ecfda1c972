"""Models of open_clip by name: ``openclip:NAME/PRETRAINED``, a baseline beside one's own model."""

import difflib
import json
import logging
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import open_clip
import torch

from dinotxt.checkpoints.baseline import ForeignTokenizer, LoadedBaseline
from dinotxt.data.pictures.transform import TransformConfig
from dinotxt.errors import CheckpointError, ConfigError
from dinotxt.models.baselines.openclip import OpenClip
from dinotxt.text.tokenizer import Tokenizer

PREFIX = "openclip:"
_SCHEMES = ("hf-hub:", "local-dir:")
_RANDOM_SEED = 0
_FAILURES = (OSError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError)


def load_openclip(name: str) -> LoadedBaseline:
    """Load a model of open_clip.

    Args:
        name: ``openclip:NAME/PRETRAINED``: a name of open_clip's and a tag, a local weight file,
            or ``random`` (seeded); or ``openclip:FOLDER`` with an ``open_clip_config.json``, or
            ``openclip:hf-hub:OWNER/NAME``.

    Raises:
        ConfigError: If the name, the tag or the preprocessing is unknown.
        CheckpointError: If the weights or the tokenizer cannot be had, or do not fit.
    """
    architecture, weights = _parse(name)
    is_random = weights == "random"
    with _reported(name), _quiet(), _seeded() if is_random else nullcontext():
        model = open_clip.create_model(
            architecture,
            pretrained=None if is_random else weights,
            pretrained_hf=False,
            require_pretrained=not is_random,
        )
        tokenizer = open_clip.get_tokenizer(architecture)
    transform = _transform(name, open_clip.get_model_preprocess_cfg(model))
    length = int(tokenizer.context_length)
    towers = OpenClip(model, context_length=length)
    return LoadedBaseline.of(towers, _tokenizer(tokenizer, architecture, length), transform, name)


def _parse(name: str) -> tuple[str, str | None]:
    """Return open_clip's name of an architecture and the weights, if they are named apart."""
    text = name.removeprefix(PREFIX)
    if text.startswith(_SCHEMES):
        return text, None
    folder = Path(text).expanduser()
    if text and folder.is_dir():
        return f"local-dir:{folder}", None
    architecture, _, weights = text.partition("/")
    known = open_clip.list_models()
    if architecture not in known:
        near = difflib.get_close_matches(architecture, known, n=3)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise ConfigError(f"open_clip knows no model {architecture!r}.{hint}")
    path = Path(weights).expanduser()
    if weights and path.is_file():
        return architecture, str(path)
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if weights not in {"random", *tags}:
        given = (
            f"{weights!r} is no file and no weights of it" if weights else "no weights are named"
        )
        choice = ", ".join(["random", *tags])
        message = f"{PREFIX}{architecture}: {given}: write {PREFIX}{architecture}/PRETRAINED with"
        raise ConfigError(f"{message} the path of a file, or one of {choice}.")
    return architecture, weights


@contextmanager
def _reported(name: str) -> Iterator[None]:
    try:
        yield
    except _FAILURES as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        message = f"{name} cannot be loaded ({reason}): where there is no network, give the file"
        raise CheckpointError(
            f"{message} as {PREFIX}NAME/PATH, or a folder with open_clip_config.json, the weights"
            f" and the tokenizer as {PREFIX}FOLDER."
        ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep open_clip's notes on loading off the root logger."""
    root = logging.getLogger()
    handler, level = logging.NullHandler(), root.level
    root.addHandler(handler)
    root.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(handler)


@contextmanager
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_RANDOM_SEED)
        yield


def _tokenizer(tokenizer: Any, architecture: str, length: int) -> Tokenizer:
    """Return our own tokenizer where it gives the same ids, since it is faster."""
    config = {} if ":" in architecture else open_clip.get_model_config(architecture)["text_cfg"]
    is_plain = type(tokenizer) is open_clip.SimpleTokenizer and not config.get("tokenizer_kwargs")
    if is_plain and ":" not in architecture:
        return Tokenizer.clip(length)
    return ForeignTokenizer(tokenizer, length)


def _transform(name: str, config: Mapping[str, Any]) -> TransformConfig:
    size, mode = config["size"], config.get("resize_mode", "shortest")
    sides = {size} if isinstance(size, int) else {int(side) for side in size}
    if len(sides) > 1 or mode not in {"shortest", "squash"}:
        message = f"{name} wants pictures prepared in a way that is not known here"
        raise ConfigError(f"{message}: {json.dumps({'size': size, 'resize_mode': mode})}.")
    bilinear = config["interpolation"] == "bilinear"
    return TransformConfig(
        size=sides.pop(),
        resize="squash" if mode == "squash" else "crop",
        crop_ratio=1.0,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation="bilinear" if bilinear else "bicubic",
    )
