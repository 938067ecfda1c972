"""Models of other libraries by name, with the same parts as a ``LoadedModel``.

``openclip:NAME/PRETRAINED`` is a model of open_clip, ``groupvit:FOLDER`` or
``groupvit:OWNER/NAME`` on the Hugging Face hub a GroupViT of transformers.
"""

import difflib
import hashlib
import json
import logging
import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dinotxt.checkpoints.hub import fetch
from dinotxt.data.pictures import TransformConfig
from dinotxt.errors import CheckpointError, ConfigError, DataError, import_extra
from dinotxt.files import read_json
from dinotxt.models.baselines import GroupVit, OpenClip
from dinotxt.models.weights import hash_tensors
from dinotxt.text.tokenizer import TokenBatch, Tokenizer

_GROUPVIT, _OPENCLIP = "groupvit:", "openclip:"
_BILINEAR = 2  # Pillow's number
_SCHEMES = ("hf-hub:", "local-dir:")
_RANDOM_SEED = 0
_FAILURES = (OSError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError)


@dataclass(frozen=True, slots=True)
class LoadedBaseline:
    """A model of another library and what belongs to it.

    Attributes:
        model: Both towers, in eval mode.
        tokenizer: Turns texts into ids.
        transform: How pictures become the model's input.
        name: What it was loaded as.
        fingerprint: SHA-256 that changes whenever features would.
        extra: Settings for inference; none.
    """

    model: OpenClip | GroupVit
    tokenizer: Tokenizer
    transform: TransformConfig
    name: str
    fingerprint: str
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, model: OpenClip | GroupVit, tokenizer: Tokenizer, transform: TransformConfig, name: str
    ) -> "LoadedBaseline":
        """Put the parts together; the fingerprint covers the weights and the transform."""
        parts = [hash_tensors(model.state_dict()), transform.fingerprint]
        fingerprint = hashlib.sha256(" ".join(parts).encode()).hexdigest()
        return cls(model.eval(), tokenizer, transform, name, fingerprint)


class ForeignTokenizer(Tokenizer):
    """A tokenizer of another library, called as it is; it pads all texts to one length.

    Args:
        tokenize: Turns texts into ids [N, L].
        context_length: L.
    """

    def __init__(self, tokenize: Any, context_length: int) -> None:
        self._tokenize = tokenize
        self.context_length = context_length
        self.pad_id = 0

    def __call__(self, texts: str | Sequence[str]) -> TokenBatch:
        """Tokenize texts."""
        ids = np.asarray(self._tokenize([texts] if isinstance(texts, str) else list(texts)))
        lengths = np.full(len(ids), ids.shape[1], dtype=np.int64)
        return TokenBatch(ids.astype(np.int64), lengths, self.pad_id)

    def save(self, path: str | Path) -> None:
        """Refuse.

        Raises:
            ConfigError: Always: only dinotxt's own models are written.
        """
        raise ConfigError(f"The tokenizer of a baseline is not written to {path}.")


def load_groupvit(name: str) -> LoadedBaseline:
    """Load a GroupViT model of transformers.

    Args:
        name: ``groupvit:`` and a folder or a name on the hub, such as
            ``groupvit:nvidia/groupvit-gcc-yfcc``.

    Raises:
        BackendError: If transformers is not installed.
        CheckpointError: If it is no such model, or its tokenizer or preprocessing is missing.
    """
    place = name.removeprefix(_GROUPVIT)
    model = GroupVit.load(place)
    tokenizer = Tokenizer.from_file(_file(place, "tokenizer.json"), model.context_length)
    try:
        transform = _groupvit_transform(read_json(_file(place, "preprocessor_config.json")))
    except (DataError, KeyError, TypeError) as error:
        message = f"{name}: preprocessor_config.json cannot be used ({error})"
        raise CheckpointError(f"{message}: get the model's files again.") from None
    return LoadedBaseline.of(model, tokenizer, transform, name)


def _file(place: str, name: str) -> Path:
    folder = Path(place).expanduser()
    if not folder.is_dir():
        return fetch(f"hf://{place}/{name}")
    if not (folder / name).is_file():
        raise CheckpointError(f"{folder} has no {name}: copy the model's whole folder.")
    return folder / name


def _groupvit_transform(config: Mapping[str, Any]) -> TransformConfig:
    """Read a CLIP image processor's settings: short side, then a crop of the centre."""
    short, crop = (_side(config[key]) for key in ("size", "crop_size"))
    return TransformConfig(
        size=crop,
        crop_ratio=max(1.0, short / crop),
        mean=tuple(config["image_mean"]),
        std=tuple(config["image_std"]),
        interpolation="bilinear" if config.get("resample") == _BILINEAR else "bicubic",
    )


def _side(size: int | Mapping[str, int]) -> int:
    return size if isinstance(size, int) else min(size.values())


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
        model = _open_clip().create_model(
            architecture,
            pretrained=None if is_random else weights,
            pretrained_hf=False,
            require_pretrained=not is_random,
        )
        tokenizer = _open_clip().get_tokenizer(architecture)
    transform = _transform(name, _open_clip().get_model_preprocess_cfg(model))
    length = int(tokenizer.context_length)
    towers = OpenClip(model, context_length=length)
    return LoadedBaseline.of(towers, _tokenizer(tokenizer, architecture, length), transform, name)


def _parse(name: str) -> tuple[str, str | None]:
    """Return open_clip's name of an architecture and the weights, if they are named apart."""
    text = name.removeprefix(_OPENCLIP)
    if text.startswith(_SCHEMES):
        return text, None
    folder = Path(text).expanduser()
    if text and folder.is_dir():
        return f"local-dir:{folder}", None
    architecture, _, weights = text.partition("/")
    known = _open_clip().list_models()
    if architecture not in known:
        near = difflib.get_close_matches(architecture, known, n=3)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise ConfigError(f"open_clip knows no model {architecture!r}.{hint}")
    path = Path(weights).expanduser()
    if weights and path.is_file():
        return architecture, str(path)
    tags = _open_clip().list_pretrained_tags_by_model(architecture)
    if weights not in {"random", *tags}:
        given = (
            f"{weights!r} is no file and no weights of it" if weights else "no weights are named"
        )
        choice = ", ".join(["random", *tags])
        message = (
            f"{_OPENCLIP}{architecture}: {given}: write {_OPENCLIP}{architecture}/PRETRAINED with"
        )
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
            f"{message} as {_OPENCLIP}NAME/PATH, or a folder with open_clip_config.json, the"
            f" weights and the tokenizer as {_OPENCLIP}FOLDER."
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
    config = {} if ":" in architecture else _open_clip().get_model_config(architecture)["text_cfg"]
    is_plain = type(tokenizer) is _open_clip().SimpleTokenizer and not config.get(
        "tokenizer_kwargs"
    )
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


def _open_clip() -> Any:
    return import_extra("open_clip", extra="baselines")
