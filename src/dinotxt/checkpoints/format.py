"""The folder that holds a model: weights, tokenizer, transform and configuration, never apart.

``config.json`` is written last and names the weights file and its hash, so a folder is always
whole: after a crash or on a full disk it still describes the model that was there before. The
frozen backbone is not in it; its hash is, and is checked when the model is loaded.
"""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import timm
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from dinotxt import __version__
from dinotxt.checkpoints.sources import build_model
from dinotxt.data.pictures import TransformConfig
from dinotxt.errors import CheckpointError, DataError
from dinotxt.files import atomic_path, is_file_name, read_json, sha256_file, write_json
from dinotxt.models.config import BackboneConfig, ModelConfig, PretrainedTextConfig, split_order
from dinotxt.models.dinotxt import DinoTxt
from dinotxt.models.weights import StateDict, read_state_dict, write_safetensors
from dinotxt.text.tokenizer import Tokenizer

_FORMAT = 1
_CONFIG, _TOKENIZER = "config.json", "tokenizer.json"
_KEYS = {"format", "weights", "tokenizer", "frozen_sha256", "model", "transform", "extra"}
_Parsed = TypeVar("_Parsed")


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model and what belongs to it.

    Attributes:
        model: Both towers, in eval mode.
        tokenizer: Turns texts into the text encoder's ids.
        transform: How pictures become the backbone's input.
        config: The architecture.
        name: What it was loaded as.
        fingerprint: SHA-256 that changes whenever features would.
        extra: What was saved along with it.
    """

    model: DinoTxt
    tokenizer: Tokenizer
    transform: TransformConfig
    config: ModelConfig
    name: str
    fingerprint: str
    extra: Mapping[str, Any]


def save_model(
    model: DinoTxt,
    folder: str | Path,
    *,
    config: ModelConfig,
    tokenizer: Tokenizer,
    transform: TransformConfig,
    extra: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Save what training changed, with everything that is needed to use it.

    A model that was in the folder stays whole until the new one is complete.

    Args:
        model: The model.
        folder: Where it goes; made where it is missing.
        config: Its architecture; local weight files are recorded by absolute path.
        tokenizer: Its tokenizer.
        transform: How pictures are prepared for it.
        extra: More JSON to keep, such as the step and the figures of a run.
        dtype: Store the weights in this type, such as half precision; None: as they are.
    """
    state = model.trainable_state_dict()
    if dtype is not None:
        state = {key: _cast(value, dtype) for key, value in state.items()}
    write_folder(
        folder,
        state,
        config=config,
        tokenizer=tokenizer,
        transform=transform,
        frozen_hash=model.frozen_hash(),
        extra=extra or {},
    )


def write_folder(
    folder: str | Path,
    state: Mapping[str, Tensor],
    *,
    config: ModelConfig,
    tokenizer: Tokenizer,
    transform: TransformConfig,
    frozen_hash: str,
    extra: Mapping[str, Any],
    weights_name: str | None = None,
) -> None:
    """Write a model folder from a ``trainable_state_dict``; see ``save_model``.

    ``weights_name`` names the weights file; None names it by its hash, so that a model that was
    there stays whole until the end.
    """
    folder = Path(folder)
    weights_hash = _write_weights(folder, state, weights_name)
    weights_name = weights_name or _weights_name(weights_hash)
    tokenizer.save(folder / _TOKENIZER)
    content = {
        "format": _FORMAT,
        "weights": {"file": weights_name, "sha256": weights_hash},
        "tokenizer": {
            "sha256": sha256_file(folder / _TOKENIZER),
            "context_length": tokenizer.context_length,
        },
        "frozen_sha256": frozen_hash,
        "model": asdict(replace(config, backbone=recorded(config.backbone))),
        "transform": asdict(transform),
        "versions": {
            "dinotxt": __version__,
            "torch": torch.__version__,
            "timm": timm.__version__,
            "python": platform.python_version(),
        },
        "extra": dict(extra),
    }
    write_json(folder / _CONFIG, content)
    for old in folder.glob("model-*.safetensors"):
        if old.name != weights_name:
            old.unlink()


def load_model(folder: str | Path, *, trust_code: bool = False) -> LoadedModel:
    """Load a model folder.

    Args:
        folder: A folder that ``save_model`` wrote; it may have been moved.
        trust_code: Whether a function that it names may be called.

    Raises:
        CheckpointError: If a file is missing, torn, or belongs to another model or backbone.
    """
    folder = Path(folder)
    content, config, state = read_folder(folder)
    config = relocated(config, folder)
    backbone = config.backbone
    model = build_model(config, initialize=False, trust_code=trust_code)
    model.load_trainable({key: _cast(value, torch.float32) for key, value in state.items()}, folder)
    if model.frozen_hash() != content["frozen_sha256"]:
        message = (
            f"{folder} was made with other frozen weights than {backbone.weights or backbone.name}"
            " gives: put the file that it was trained with into the folder."
        )
        raise CheckpointError(message)
    _verified(folder, _TOKENIZER, content["tokenizer"])
    context_length = content["tokenizer"]["context_length"]
    transform = _parse(TransformConfig, content["transform"], folder)
    return LoadedModel(
        model=model.eval(),
        tokenizer=Tokenizer.from_file(folder / _TOKENIZER, context_length),
        transform=transform,
        config=config,
        name=folder.name,
        fingerprint=_fingerprint(content, transform),
        extra=content["extra"],
    )


def read_folder(folder: str | Path) -> tuple[dict[str, Any], ModelConfig, StateDict]:
    """Read a model folder without building the model.

    Returns:
        The content of ``config.json``, the architecture, and the weights as they are stored.

    Raises:
        CheckpointError: If a file is missing, torn or of another program.
    """
    folder = Path(folder)
    content = _read_config(folder)
    config = _parse(ModelConfig, content["model"], folder)
    record = content["weights"]
    return content, config, read_state_dict(_verified(folder, record["file"], record))


def read_weights(folder: str | Path) -> StateDict:
    """Return what training changed, in float32; raises as ``read_folder``."""
    state = read_folder(folder)[2]
    return {key: _cast(value, torch.float32) for key, value in state.items()}


def _write_weights(folder: Path, state: Mapping[str, Tensor], name: str | None) -> str:
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in state.items()}
    folder.mkdir(parents=True, exist_ok=True)
    staged = folder / "model.safetensors.new"
    with atomic_path(staged) as temporary:
        write_safetensors(tensors, temporary)
    digest = sha256_file(staged)
    staged.replace(folder / (name or _weights_name(digest)))
    return digest


def _weights_name(digest: str) -> str:
    return f"model-{digest[:8]}.safetensors"


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / _CONFIG
    if not path.is_file():
        raise CheckpointError(f"{folder} is no model folder: it has no {_CONFIG}.")
    try:
        content = read_json(path)
    except DataError as error:
        raise CheckpointError(f"{error} Copy the whole folder again.") from None
    if not isinstance(content, dict) or not content.keys() >= _KEYS:
        raise CheckpointError(f"{path} is of another program: give a folder that dinotxt wrote.")
    if content["format"] != _FORMAT:
        message = f"{path} has format {content['format']}, this version reads {_FORMAT}: upgrade."
        raise CheckpointError(message)
    return content


def _parse(kind: type[_Parsed], content: Any, folder: Path) -> _Parsed:
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        message = f"{folder / _CONFIG} is damaged or of another version: {error}"
        raise CheckpointError(message) from None


def _verified(folder: Path, name: str, record: Mapping[str, str]) -> Path:
    if not is_file_name(name):
        message = f"{folder / _CONFIG} names {name!r}, which is no file of the folder: its maker"
        raise CheckpointError(f"{message} must be asked for one that dinotxt wrote.")
    path = folder / name
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: copy the whole folder again.")
    if sha256_file(path) != record["sha256"]:
        message = f"{path} is torn or of another model: copy the whole folder again."
        raise CheckpointError(message)
    return path


def _fingerprint(content: Any, transform: TransformConfig) -> str:
    parts = [
        content["weights"]["sha256"],
        content["tokenizer"]["sha256"],
        content["frozen_sha256"],
        transform.fingerprint,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _cast(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.to(dtype) if value.is_floating_point() else value


INSIDE = "folder:"


def recorded(backbone: BackboneConfig) -> BackboneConfig:
    """Record local files by absolute path; a trained backbone needs no other file."""
    if not backbone.frozen:
        return replace(backbone, weights="random")
    prefix, path = split_order(backbone.weights or "")
    if path and Path(path).is_file():
        return replace(backbone, weights=f"{prefix}{Path(path).resolve()}")
    return backbone


def relocated(config: ModelConfig, folder: Path) -> ModelConfig:
    """Find the files of the frozen part; ``folder:NAME`` lies in the model's own folder.

    Args:
        config: As a model folder has it.
        folder: The model folder.

    Raises:
        CheckpointError: If the backbone's file is gone.
    """
    backbone, text = config.backbone, config.text_encoder
    prefix, path = split_order(backbone.weights or "")
    if path.startswith(INSIDE):
        place = folder.resolve() / path.removeprefix(INSIDE)
        backbone = replace(backbone, weights=f"{prefix}{place}")
    if isinstance(text, PretrainedTextConfig) and text.name.startswith(INSIDE):
        text = replace(text, name=str(folder.resolve() / text.name.removeprefix(INSIDE)))
    return replace(config, backbone=_relocated(backbone, folder), text_encoder=text)


def _relocated(backbone: BackboneConfig, folder: Path) -> BackboneConfig:
    """Find the backbone's file: in the model's folder, where it was, or beside the folder."""
    prefix, path = split_order(backbone.weights or "")
    if not Path(path).is_absolute():
        return backbone
    name = Path(path).name
    for place in (folder / name, Path(path), folder.parent / name):
        if place.is_file():
            return replace(backbone, weights=f"{prefix}{place}")
    raise CheckpointError(
        f"The frozen backbone of {folder} was read from {path}, which is gone: put the file into"
        " the folder."
    )
