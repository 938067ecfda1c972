"""Where the files of a model's frozen part lie: elsewhere, or in the model's own folder."""

from dataclasses import replace
from pathlib import Path

from dinotxt.errors import CheckpointError
from dinotxt.models.config import BackboneConfig, ModelConfig, PretrainedTextConfig, split_order

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
