"""Floating point operations of the towers by formula: two for each multiplication and addition.

Matrix multiplications, convolutions and attention count; norms, activations and look-ups do not,
as in PyTorch's own counter. Every number is of one sample's forward pass unless said otherwise.
"""

import json
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dinotxt.checkpoints.wheels import wheel_path
from dinotxt.errors import ConfigError
from dinotxt.files import read_json
from dinotxt.models.config import (
    BackboneConfig,
    PretrainedTextConfig,
    TransformerTextConfig,
    VisionHeadConfig,
)
from dinotxt.models.text import PretrainedTextEncoder, TextEncoder
from dinotxt.models.vision import Backbone, build_module

_HIDDEN_MULTIPLE = 64
_BERT_SIZES = {"bert-base-uncased": (768, 12, 3072), "bert-large-uncased": (1024, 24, 4096)}


@dataclass(frozen=True, slots=True)
class BackboneFlops:
    """The backbone on one picture.

    Attributes:
        forward: All of it.
        stem: Of that, the layer on the pixels, which needs no gradient of its input.
        width: Of its tokens.
        num_patches: Patch tokens.
        num_registers: Register tokens.
        parameters: Its weights.
    """

    forward: float
    stem: float
    width: int
    num_patches: int
    num_registers: int
    parameters: int = 0


@dataclass(frozen=True, slots=True)
class HeadFlops:
    """The vision head on one picture.

    Attributes:
        forward: All of it with every branch.
        branches: Of that, the residual branches, which the drop path skips for some samples.
        first: Of that, the layer on frozen tokens, which needs no gradient of its input.
    """

    forward: float
    branches: float
    first: float


@dataclass(frozen=True, slots=True)
class TextFlops:
    """The text encoder: a formula in the lengths of the texts.

    Attributes:
        width: Of its tokens.
        hidden: Of the feed-forward layers.
        layers: How many there are.
        trained_layers: How many of the last ones are trained.
        projection: Of one pooled token.
        has_frozen_input: Whether what enters the first trained layer needs no gradient.
    """

    width: int
    hidden: int
    layers: int
    trained_layers: int
    projection: float
    has_frozen_input: bool = False

    def layer(self, lengths: ArrayLike) -> float:
        """Return one layer on texts of these lengths in tokens, summed over the texts."""
        tokens = np.asarray(lengths, dtype=np.float64)
        a_token = 8.0 * self.width**2 + 4.0 * self.width * self.hidden
        return float(a_token * tokens.sum() + 4.0 * self.width * np.square(tokens).sum())

    def forward(self, lengths: ArrayLike) -> float:
        """Return all layers and the projection on texts of these lengths."""
        return self.layers * self.layer(lengths) + self.projection * np.asarray(lengths).size

    def step(self, lengths: ArrayLike, *, passes: int = 1) -> float:
        """Return the forward passes and the backward pass of a training step.

        Args:
            lengths: Tokens of each text.
            passes: Forward passes: two with gradient caching.
        """
        trained = self.trained_layers * self.layer(lengths)
        trained += self.projection * np.asarray(lengths).size
        total = passes * self.forward(lengths) + 2 * trained
        if self.has_frozen_input and self.trained_layers:
            total -= 6.0 * self.width**2 * float(np.asarray(lengths).sum())  # of q, k and v
        return total


def backbone_flops(backbone: Backbone, size: int) -> BackboneFlops:
    """Return the operations of a backbone on a square picture.

    A vision transformer's are computed by formula; another network's are counted on one picture.
    """
    module, config = backbone.module, backbone.config
    patches = (-(-size // backbone.patch_size)) ** 2
    prefix = backbone.num_registers + int(getattr(module, "cls_token", None) is not None)
    if is_transformer(module):
        forward, stem = _transformer(module, patches, prefix)
    else:
        forward, stem = _counted(backbone, config.in_channels, size), 0.0
    return BackboneFlops(
        forward,
        stem,
        backbone.width,
        patches,
        backbone.num_registers,
        sum(value.numel() for value in module.parameters()),
    )


def planned_backbone(config: BackboneConfig, size: int) -> BackboneFlops:
    """Return the operations of a backbone that is built without any weights.

    Raises:
        ConfigError: If the name or an option is unknown.
    """
    if ":" in config.name:
        return backbone_flops(Backbone.from_config(config, trust_code=True), size)
    bare = replace(config, weights="random", frozen=False)
    return _planned(json.dumps(asdict(bare), sort_keys=True), size)


def head_flops(config: VisionHeadConfig, backbone: BackboneFlops) -> HeadFlops:
    """Return the operations of a vision head on the tokens of a backbone."""
    dim = config.dim or backbone.width
    registers = backbone.num_registers if config.registers == "through" else 0
    tokens = 1 + registers + backbone.num_patches
    first = 0.0
    if config.dim is not None:
        first = 2.0 * tokens * backbone.width * dim
    elif config.cls_projection is not None:
        first = 2.0 * dim * config.cls_projection
    last = 2.0 * dim * config.cls_projection if config.cls_projection else 0.0
    hidden = -(-int(4 * dim * 2 / 3) // _HIDDEN_MULTIPLE) * _HIDDEN_MULTIPLE
    block = tokens * (8.0 * dim**2 + 6.0 * dim * hidden) + 4.0 * tokens**2 * dim
    branches = config.num_blocks * block
    projected = first + last if config.dim is not None else max(first, last)
    return HeadFlops(
        forward=projected + branches,
        branches=branches,
        first=first if config.input_norm != "layer" else 0.0,
    )


def text_flops(
    encoder: TextEncoder | PretrainedTextEncoder, embed_dim: int, cls_dim: int = 0
) -> TextFlops:
    """Return the operations of a text encoder; ``cls_dim``: width of the feature's cls half."""
    if isinstance(encoder, TextEncoder):
        return planned_text(encoder.config, embed_dim)
    settings = encoder.encoder.config
    return _pretrained(
        encoder.config,
        embed_dim,
        (settings.hidden_size, settings.num_hidden_layers, settings.intermediate_size),
        cls_dim,
    )


def planned_text(
    config: TransformerTextConfig | PretrainedTextConfig, embed_dim: int, cls_dim: int = 0
) -> TextFlops:
    """Return the operations of a text encoder that is not built; see ``text_flops``.

    Raises:
        ConfigError: If the sizes of a pretrained encoder cannot be found.
    """
    if isinstance(config, PretrainedTextConfig):
        return _pretrained(config, embed_dim, _text_sizes(config.name), cls_dim)
    return TextFlops(
        width=config.width,
        hidden=4 * config.width,
        layers=config.layers,
        trained_layers=config.layers,
        projection=2.0 * config.width * embed_dim,
    )


def is_transformer(module: Any) -> bool:
    """Tell if a module is one of timm's plain vision transformers, whose formula is known."""
    blocks = getattr(module, "blocks", None)
    stem = getattr(getattr(module, "patch_embed", None), "proj", None)
    if not isinstance(blocks, nn.Sequential | nn.ModuleList) or not isinstance(stem, nn.Conv2d):
        return False
    is_flat = getattr(module.patch_embed, "grid_size", None) is not None
    return is_flat and all(hasattr(getattr(block, "attn", None), "proj") for block in blocks)


@cache
def _planned(description: str, size: int) -> BackboneFlops:
    content = json.loads(description)
    levels = content.pop("levels")
    config = BackboneConfig(**content, levels=None if levels is None else tuple(levels))
    with torch.device("meta"):
        module = build_module(config)
    return backbone_flops(Backbone(module, config), size)


def _text_sizes(name: str) -> tuple[int, int, int]:
    """Return (width, layers, hidden width) of a pretrained encoder, whose weights stay unread."""
    known = _BERT_SIZES.get(name.rpartition("/")[2])
    if known is not None:
        return known
    folder = wheel_path(name.removeprefix("wheel:")) if name.startswith("wheel:") else Path(name)
    if not (folder / "config.json").is_file():
        raise ConfigError(
            f"text_encoder.name {name}: its sizes are not known; give a folder with config.json."
        )
    content = read_json(folder / "config.json")
    return content["hidden_size"], content["num_hidden_layers"], content["intermediate_size"]


def _pretrained(
    config: PretrainedTextConfig, embed_dim: int, sizes: tuple[int, int, int], cls_dim: int
) -> TextFlops:
    width, layers, hidden = sizes
    own_dim = 0 if config.cls_hidden is None else cls_dim
    own = 2.0 * (config.cls_hidden or 0) * (width + own_dim)
    return TextFlops(
        width=width,
        hidden=hidden,
        layers=layers,
        trained_layers=config.trainable_layers,
        projection=own + 2.0 * width * (embed_dim - own_dim),
        has_frozen_input=True,
    )


def _transformer(module: Any, patches: int, prefix: int) -> tuple[float, float]:
    """Return (forward, stem) of a vision transformer on so many patches and other tokens."""
    conv = module.patch_embed.proj
    kernel = conv.kernel_size[0] * conv.kernel_size[1] * conv.in_channels // conv.groups
    stem = 2.0 * patches * kernel * conv.out_channels
    tokens = patches + prefix
    total = stem
    for block in module.blocks:
        weights = sum(
            part.weight.numel() for part in block.modules() if isinstance(part, nn.Linear)
        )
        total += 2.0 * tokens * weights + 4.0 * tokens**2 * block.attn.proj.in_features
    return total, stem


@torch.no_grad()
def _counted(backbone: Backbone, channels: int, size: int) -> float:
    like = next(backbone.module.parameters())
    picture = torch.zeros(1, channels, size, size, device=like.device, dtype=like.dtype)
    was_training = backbone.module.training
    backbone.module.eval()
    # The counter knows the products of plain attention, not every fused kernel.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        backbone(picture)
    backbone.module.train(was_training)
    return float(counter.get_total_flops())
