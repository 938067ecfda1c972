"""Between Meta's files and our folder, without changing a bit of any weight."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from dinotxt.checkpoints import meta
from dinotxt.checkpoints.format import read_folder, write_folder
from dinotxt.checkpoints.layouts import Layout, to_dinov2, to_dinov3
from dinotxt.checkpoints.sources import build_tokenizer
from dinotxt.data.pictures.transform import TransformConfig
from dinotxt.errors import CheckpointError
from dinotxt.files import atomic_path
from dinotxt.models.config import ModelConfig, TransformerTextConfig
from dinotxt.models.weights import write_pickle, write_safetensors


def from_meta(weights: meta.MetaWeights, folder: str | Path) -> None:
    """Write Meta's files, as ``meta.read`` gives them, as a model folder.

    The model is built once, so files that do not fit are refused before anything is written.

    Raises:
        CheckpointError: If the files do not fit together.
    """
    model = meta.build(weights)
    write_folder(
        folder,
        weights.state,
        config=weights.config,
        tokenizer=build_tokenizer(weights.config),
        transform=TransformConfig(),
        frozen_hash=model.frozen_hash(),
        extra={"converted_from": "meta"},
    )


def to_meta(
    folder: str | Path, out: str | Path, *, layout: Layout = "dinov2", suffix: str = "pth"
) -> list[Path]:
    """Write a model folder's head and text encoder in one of Meta's layouts.

    Args:
        folder: The model folder.
        out: The folder for the files.
        layout: ``dinov2``: two files, without the logit scale; ``dinov3``: one file with it.
        suffix: ``pth`` or ``safetensors``.

    Returns:
        The files that were written.

    Raises:
        CheckpointError: If the model has parts that Meta's layouts have no names for.
    """
    _, config, state = read_folder(folder)
    _check_layout(config, state)
    if layout == "dinov3":
        parts = {"vision_head_and_text_encoder": to_dinov3(state)}
    else:
        head, text = to_dinov2(state)
        parts = {"vision_head": head, "text_encoder": text}
    paths = []
    for name, tensors in parts.items():
        path = Path(out) / f"{name}.{suffix}"
        _write(tensors, path)
        paths.append(path)
    return paths


def _check_layout(config: ModelConfig, state: Mapping[str, Tensor]) -> None:
    head = config.vision_head
    plain = head.dim is None and head.cls_projection is None and head.num_blocks > 0
    is_ours = all(key.startswith(("vision_head.", "text_encoder.", "logit_scale")) for key in state)
    if plain and is_ours and isinstance(config.text_encoder, TransformerTextConfig):
        return
    message = (
        "Meta's layouts hold vision blocks of the backbone's width and a transformer text encoder"
        " beside a frozen backbone; this model has other parts: keep it in its own folder."
    )
    raise CheckpointError(message)


def _write(tensors: Mapping[str, Tensor], path: Path) -> None:
    with atomic_path(path) as temporary:
        if path.suffix == ".safetensors":
            write_safetensors(tensors, temporary)
        else:
            write_pickle(tensors, temporary)
