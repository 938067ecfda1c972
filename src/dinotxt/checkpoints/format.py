"""The folder that holds a model: weights, tokenizer, transform and configuration, never apart.

``config.json`` is written last and names the weights file and its hash, so a folder is always
whole: after a crash or on a full disk it still describes the model that was there before. The
frozen backbone is not in it; its hash is, and is checked when the model is loaded.
"""

import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor

from dinotxt import __version__
from dinotxt.checkpoints.folder import (
    CONFIG,
    TOKENIZER,
    FolderConfig,
    TokenizerFile,
    WeightsFile,
    read_config,
    recorded,
    relocated,
    verified,
)
from dinotxt.checkpoints.sources import build_model
from dinotxt.data.pictures import TransformConfig
from dinotxt.errors import CheckpointError
from dinotxt.files import atomic_path, sha256_file, write_json
from dinotxt.models.config import ModelConfig
from dinotxt.models.dinotxt import DinoTxt
from dinotxt.models.weights import StateDict, read_state_dict, write_safetensors
from dinotxt.text.tokenizer import Tokenizer

_OWN_WEIGHTS = re.compile(r"model-([0-9a-f]{8})\.safetensors")


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
    weights = _write_weights(folder, state, weights_name)
    tokenizer.save(folder / TOKENIZER)
    content = FolderConfig(
        weights=weights,
        tokenizer=TokenizerFile(
            sha256=sha256_file(folder / TOKENIZER), context_length=tokenizer.context_length
        ),
        frozen_sha256=frozen_hash,
        model=replace(config, backbone=recorded(config.backbone)),
        transform=transform,
        versions={
            "dinotxt": __version__,
            "torch": torch.__version__,
            "timm": timm.__version__,
            "python": platform.python_version(),
        },
        extra=dict(extra),
    )
    write_json(folder / CONFIG, content.to_json())
    for old in folder.iterdir():
        if old.name != weights.file and _is_ours(old):
            old.unlink()


def load_model(folder: str | Path, *, trust_code: bool = False) -> LoadedModel:
    """Load a model folder.

    Args:
        folder: A folder that ``save_model`` wrote; it may have been moved.
        trust_code: Whether a function that it names may be called, and any address fetched from.

    Raises:
        CheckpointError: If a file is missing, torn, or belongs to another model or backbone.
    """
    folder = Path(folder)
    content = read_config(folder)
    state = read_weights(folder, content)
    config = relocated(content.model, folder, trust_code=trust_code)
    backbone = config.backbone
    model = build_model(config, initialize=False, trust_code=trust_code)
    model.load_trainable({key: _cast(value, torch.float32) for key, value in state.items()}, folder)
    if model.frozen_hash() != content.frozen_sha256:
        message = (
            f"{folder} was made with other frozen weights than {backbone.weights or backbone.name}"
            " gives: put the file that it was trained with into the folder."
        )
        raise CheckpointError(message)
    tokenizer = verified(folder, TOKENIZER, content.tokenizer.sha256)
    return LoadedModel(
        model=model.eval(),
        tokenizer=Tokenizer.from_file(tokenizer, content.tokenizer.context_length),
        transform=content.transform,
        config=config,
        name=folder.name,
        fingerprint=content.fingerprint,
        extra=content.extra,
    )


def read_weights(folder: Path, content: FolderConfig) -> StateDict:
    """Return what training changed, as it is stored, without building the model.

    Raises:
        CheckpointError: If the file is missing or torn.
    """
    return read_state_dict(verified(folder, content.weights.file, content.weights.sha256))


def read_trained(folder: Path) -> StateDict:
    """Return what training changed, in float32, without building the model.

    Raises:
        CheckpointError: As ``load_model``.
    """
    state = read_weights(folder, read_config(folder))
    return {key: _cast(value, torch.float32) for key, value in state.items()}


def _write_weights(folder: Path, state: Mapping[str, Tensor], name: str | None) -> WeightsFile:
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in state.items()}
    folder.mkdir(parents=True, exist_ok=True)
    staged = folder / "model.safetensors.new"
    with atomic_path(staged) as temporary:
        write_safetensors(tensors, temporary)
    digest = sha256_file(staged)
    weights = WeightsFile(file=name or f"model-{digest[:8]}.safetensors", sha256=digest)
    staged.replace(folder / weights.file)
    return weights


def _is_ours(path: Path) -> bool:
    """Tell if a file is the weights of an earlier model here: its name is its own hash."""
    match = _OWN_WEIGHTS.fullmatch(path.name)
    return match is not None and path.is_file() and sha256_file(path).startswith(match[1])


def _cast(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.to(dtype) if value.is_floating_point() else value
