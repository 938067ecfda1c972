"""Meta's released dino.txt files: two for DINOv2, one for DINOv3.

Every size is inferred from the shapes, and files are read with ``weights_only``. The DINOv3 layout
follows the published code; the real file was never seen. Backbone weights inside that file are
ignored: the backbone's own file has them.
"""

import math
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dinotxt.checkpoints.folder import read_config
from dinotxt.checkpoints.format import read_weights, write_folder
from dinotxt.checkpoints.hub import fetch
from dinotxt.checkpoints.layouts import (
    Layout,
    from_dinov2,
    from_dinov3,
    official_names,
    to_dinov2,
    to_dinov3,
)
from dinotxt.checkpoints.sources import build_tokenizer
from dinotxt.data.pictures import TransformConfig
from dinotxt.errors import CheckpointError, ConfigError
from dinotxt.files import atomic_path
from dinotxt.models.config import (
    BackboneConfig,
    ModelConfig,
    TransformerTextConfig,
    VisionHeadConfig,
)
from dinotxt.models.dinotxt import DinoTxt
from dinotxt.models.weights import StateDict, read_state_dict, write_pickle, write_safetensors

_HEAD_WIDTH = 64
_VOCAB_SIZE, _CONTEXT_LENGTH = 49408, 77
_NOTEBOOK_LOGIT_SCALE = 100.0
_SIZES_V3 = {384: "small", 768: "base", 1024: "large"}
_GATED_V3 = {384: "small_plus", 1280: "huge_plus", 4096: "7b"}
_STAGES = 4
_CONVNEXTS = {(96, 9): "tiny", (96, 27): "small", (128, 27): "base", (192, 27): "large"}
_SIZES = {384: "small", 768: "base", 1024: "large", 1536: "giant"}


@dataclass(frozen=True, slots=True)
class MetaWeights:
    """What Meta's files hold.

    Attributes:
        config: The architecture, with the backbone's file as its weights.
        state: The trained tensors under our names, as ``DinoTxt.trainable_state_dict`` has them.
        has_logit_scale: Whether the files held a logit scale.
        layout: That of the files.
        source: The files' names, for errors.
        names: What the files call each tensor, by our name, for errors.
    """

    config: ModelConfig
    state: StateDict
    has_logit_scale: bool
    layout: Layout
    source: str
    names: dict[str, str]


def load(
    *,
    backbone: str | Path,
    vision_head: str | Path | None = None,
    text_encoder: str | Path | None = None,
    vision_head_and_text_encoder: str | Path | None = None,
    vision_num_heads: int | None = None,
    text_num_heads: int | None = None,
) -> DinoTxt:
    """Load a model from Meta's files (``.pth`` or ``.safetensors``), each a path or a URL.

    Args:
        backbone: The DINOv2 or DINOv3 backbone.
        vision_head: The vision head (DINOv2), together with ``text_encoder``.
        text_encoder: The text encoder (DINOv2).
        vision_head_and_text_encoder: Both in one file (DINOv3).
        vision_num_heads: Attention heads of the vision head; None: width / 64.
        text_num_heads: Attention heads of the text encoder; None: width / 64.

    Returns:
        The model in eval mode. Where the files hold no logit scale, it is 100, with a warning.

    Raises:
        ConfigError: If the arguments name neither both DINOv2 files nor the DINOv3 file.
        CheckpointError: If a file is missing, unsafe, damaged or does not fit.
    """
    weights = read(
        backbone=backbone,
        vision_head=vision_head,
        text_encoder=text_encoder,
        vision_head_and_text_encoder=vision_head_and_text_encoder,
        vision_num_heads=vision_num_heads,
        text_num_heads=text_num_heads,
    )
    return build(weights)


def build(weights: MetaWeights) -> DinoTxt:
    """Build the model of files that were read, in eval mode and float32."""
    model = DinoTxt.from_config(weights.config, initialize=False)
    names = official_names(model.trainable_state_dict(), weights.layout) | weights.names
    state = {key: value.float() for key, value in weights.state.items()}
    model.load_trainable(state, weights.source, names)
    if not weights.has_logit_scale:
        message = "These files hold no logit_scale: 100 is used, as in Meta's notebooks."
        warnings.warn(message, stacklevel=3)
    return model.eval()


def read(
    *,
    backbone: str | Path,
    vision_head: str | Path | None = None,
    text_encoder: str | Path | None = None,
    vision_head_and_text_encoder: str | Path | None = None,
    vision_num_heads: int | None = None,
    text_num_heads: int | None = None,
) -> MetaWeights:
    """Read the files and infer the architecture without building it; all else as in ``load``."""
    if (vision_head is None) != (text_encoder is None) or (
        (vision_head is None) == (vision_head_and_text_encoder is None)
    ):
        message = (
            "Give vision_head and text_encoder (the two DINOv2 files), or"
            " vision_head_and_text_encoder (the DINOv3 file)."
        )
        raise ConfigError(message)
    backbone_path = fetch(backbone)
    layout: Layout = "dinov2" if vision_head_and_text_encoder is None else "dinov3"
    given = (vision_head, text_encoder, vision_head_and_text_encoder)
    files = [file for file in given if file is not None]
    parts = [read_state_dict(fetch(file)) for file in files]
    state, names = (
        from_dinov2(*held) if layout == "dinov2" else from_dinov3(*held)
        for held in (parts, [dict(zip(part, part, strict=True)) for part in parts])
    )
    source = " and ".join(map(str, files))
    has_logit_scale = "logit_scale" in state
    scale = state.get("logit_scale", torch.tensor(math.log(_NOTEBOOK_LOGIT_SCALE)))
    state["logit_scale"] = scale.reshape(())
    backbone_config = infer_backbone(read_state_dict(backbone_path), backbone_path)
    config = ModelConfig(
        backbone=backbone_config,
        vision_head=_infer_vision_head(state, vision_num_heads, backbone_config),
        text_encoder=_infer_text_encoder(state, text_num_heads, source),
    )
    return MetaWeights(config, state, has_logit_scale, layout, source, names)


def infer_backbone(state: Mapping[str, Tensor], path: Path) -> BackboneConfig:
    """Infer the backbone from the shapes of Meta's DINOv2 or DINOv3 file.

    Raises:
        CheckpointError: If the file lacks the keys of such a backbone.
    """
    if "downsample_layers.0.0.weight" in state:
        return _infer_convnext(state, path)
    patch = _shape(state, "patch_embed.proj.weight", path)
    dim, patch_size = patch[0], patch[2]
    options: dict[str, Any] = {
        "embed_dim": dim,
        "depth": _depth(state, "blocks."),
        "num_heads": max(dim // _HEAD_WIDTH, 1),
    }
    size = _SIZES.get(dim, "base")
    if "storage_tokens" in state:
        return BackboneConfig(**_infer_dinov3(state, options), weights=str(path))
    side = math.isqrt(_shape(state, "pos_embed", path)[1] - 1)
    options |= {"img_size": side * patch_size, "patch_size": patch_size}
    if "blocks.0.mlp.fc1.weight" in state:
        options["mlp_ratio"] = _shape(state, "blocks.0.mlp.fc1.weight", path)[0] / dim
        size = "base" if size == "giant" else size
    else:
        size = "giant"
    registers = ""
    if "register_tokens" in state:
        registers = "reg4_"
        options["reg_tokens"] = _shape(state, "register_tokens", path)[1]
    name = f"vit_{size}_patch14_{registers}dinov2"
    return BackboneConfig(name=name, weights=str(path), options=options)


def _infer_dinov3(state: Mapping[str, Tensor], options: dict[str, Any]) -> dict[str, Any]:
    """Infer S, S+, B, L, L+, H+ and 7B; the rotary periods tell the width of a head."""
    dim = options["embed_dim"]
    periods = state.get("rope_embed.periods")
    if periods is not None:
        options["num_heads"] = max(dim // (4 * len(periods)), 1)
    is_gated = "blocks.0.mlp.w1.weight" in state
    hidden = state.get("blocks.0.mlp.w1.weight" if is_gated else "blocks.0.mlp.fc1.weight")
    if hidden is not None:
        options["mlp_ratio"] = len(hidden) / dim
    size = _SIZES_V3.get(dim, "base") if not is_gated else _GATED_V3.get(dim, "huge_plus")
    bias = any(key.endswith("qkv.bias") and value.any() for key, value in state.items())
    return {"name": f"vit_{size}_patch16_dinov3{'_qkvb' * bias}", "options": options}


def _infer_convnext(state: Mapping[str, Tensor], path: Path) -> BackboneConfig:
    dims = [_shape(state, f"stages.{stage}.0.dwconv.weight", path)[0] for stage in range(_STAGES)]
    depths = [_depth(state, f"stages.{stage}.") for stage in range(_STAGES)]
    size = _CONVNEXTS.get((dims[0], depths[2]), "tiny")
    options = {"dims": dims, "depths": depths}
    return BackboneConfig(name=f"convnext_{size}", weights=str(path), options=options)


def _infer_vision_head(
    state: StateDict, num_heads: int | None, backbone: BackboneConfig
) -> VisionHeadConfig:
    norm = state.get("vision_head.ln_final.weight")
    width = backbone.options.get("embed_dim") or backbone.options["dims"][-1]
    dim = width if norm is None else norm.shape[0]
    return VisionHeadConfig(
        num_blocks=_depth(state, "vision_head.blocks."),
        num_heads=num_heads or max(dim // _HEAD_WIDTH, 1),
    )


def _infer_text_encoder(
    state: StateDict, num_heads: int | None, source: str
) -> TransformerTextConfig:
    """Infer the sizes; where one of the two tables is missing, the other tells the width."""
    tokens = state.get("text_encoder.token_embedding.weight")
    places = state.get("text_encoder.positional_embedding")
    layers = _depth(state, "text_encoder.blocks.")
    if (tokens is None and places is None) or not layers:
        needed = "token_embedding.weight, positional_embedding or blocks"
        raise CheckpointError(f"{source}: the text encoder has no {needed}: it is another model's.")
    width = int((places if tokens is None else tokens).shape[1])  # type: ignore[union-attr]
    return TransformerTextConfig(
        width=width,
        layers=layers,
        heads=num_heads or max(width // _HEAD_WIDTH, 1),
        context_length=_CONTEXT_LENGTH if places is None else places.shape[0],
        vocab_size=_VOCAB_SIZE if tokens is None else tokens.shape[0],
    )


def _depth(state: Mapping[str, Tensor], prefix: str) -> int:
    pattern = re.compile(re.escape(prefix) + r"(\d+)\.")
    found = [int(match[1]) for key in state if (match := pattern.match(key))]
    return max(found, default=-1) + 1


def _shape(state: Mapping[str, Tensor], key: str, source: str | Path) -> tuple[int, ...]:
    if key not in state:
        some = ", ".join(list(state)[:5])
        message = f"{source} lacks {key} (it begins with {some}): it is of another model."
        raise CheckpointError(message)
    return tuple(state[key].shape)


def from_meta(weights: MetaWeights, folder: str | Path) -> None:
    """Write Meta's files, as ``read`` gives them, as a model folder.

    The model is built once, so files that do not fit are refused before anything is written.

    Raises:
        CheckpointError: If the files do not fit together.
    """
    model = build(weights)
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
    content = read_config(Path(folder))
    config, state = content.model, read_weights(Path(folder), content)
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
