"""The two-tower model of "DINOv2 Meets Text" (dino.txt)."""

import hashlib
import math
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dinotxt.errors import ConfigError
from dinotxt.models.config import (
    Embedding,
    ModelConfig,
    PretrainedTextConfig,
    TextHalf,
    TransformerTextConfig,
)
from dinotxt.models.text import PretrainedTextEncoder, TextEncoder
from dinotxt.models.vision import Backbone, SubsetDraw, Tokens, VisionHead, repeat_over_grid
from dinotxt.models.weights import check_keys, hash_tensors

_MAX_LOGIT_SCALE = math.log(100)


class DinoTxt(nn.Module):
    """A backbone, a vision head and a text encoder that share one space.

    Features are not normalised; cosine similarities times ``logit_scale.exp()`` are the logits.

    Args:
        backbone: Gives the tokens of pictures.
        vision_head: Aligns and pools them.
        text_encoder: Gives features of the same width.
        logit_scale_init: First value of ``logit_scale``, a logarithm.
        logit_scale_frozen: Do not train it; it is saved all the same.
        half_weights: See ``ModelConfig``.

    Raises:
        ConfigError: If there are weights of halves, but no halves.
    """

    def __init__(
        self,
        backbone: Backbone,
        vision_head: VisionHead,
        text_encoder: TextEncoder | PretrainedTextEncoder,
        *,
        logit_scale_init: float = math.log(1 / 0.07),
        logit_scale_frozen: bool = False,
        half_weights: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        if half_weights and not vision_head.cls_dim:
            raise ConfigError("model.half_weights needs vision_head.pooling cls_avg or cls_max.")
        self.half_weights = half_weights
        self.backbone = backbone
        self.vision_head = vision_head
        self.text_encoder = text_encoder
        self.logit_scale = nn.Parameter(torch.tensor(logit_scale_init))
        self._frozen = {name for name, value in self.named_parameters() if not value.requires_grad}
        self.logit_scale.requires_grad_(not logit_scale_frozen)

    @classmethod
    def from_config(
        cls, config: ModelConfig, *, initialize: bool = True, trust_code: bool = False
    ) -> "DinoTxt":
        """Build the model; the backbone and a pretrained text encoder get their weights.

        Args:
            config: The architecture.
            initialize: Initialise what is trained from scratch; without it those parameters have
                no storage until ``load_trainable`` gives them values.
            trust_code: Whether a function that the configuration names may be called.

        Raises:
            ConfigError: If the configuration does not hold together.
            CheckpointError: If weights are missing or do not fit.
        """
        backbone = Backbone.from_config(config.backbone, trust_code=trust_code)
        text_encoder: TextEncoder | PretrainedTextEncoder
        with nullcontext() if initialize else torch.device("meta"):
            vision_head = VisionHead(config.vision_head, backbone.width)
            if isinstance(config.text_encoder, TransformerTextConfig):
                text_encoder = TextEncoder(config.text_encoder, vision_head.embed_dim)
        if isinstance(config.text_encoder, PretrainedTextConfig):
            text_encoder = PretrainedTextEncoder(
                config.text_encoder, vision_head.embed_dim, cls_dim=vision_head.cls_dim
            )
        return cls(
            backbone,
            vision_head,
            text_encoder,
            logit_scale_init=config.logit_scale_init,
            logit_scale_frozen=config.logit_scale_frozen,
            half_weights=config.half_weights,
        )

    @property
    def embed_dim(self) -> int:
        """Width E of image and text features."""
        return self.vision_head.embed_dim

    def encode_image(self, images: Tensor, *, draw: SubsetDraw | None = None) -> Tensor:
        """Return image features [B, E] of normalised pictures [B, C, H, W]."""
        return self.encode_tokens(self.backbone(images), draw=draw)

    def encode_tokens(self, tokens: Tokens, *, draw: SubsetDraw | None = None) -> Tensor:
        """Return image features [B, E] of the backbone's tokens, such as cached ones."""
        return self.weigh_halves(self.vision_head.pool(self.vision_head(tokens, draw=draw)))

    def encode_text(self, token_ids: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return text features [B, E] of padded token ids [B, L].

        Args:
            token_ids: Ids as the model's tokenizer gives them.
            lengths: Number of real tokens of each text, [B]; None: read off the ids.
        """
        if lengths is None:
            lengths = self.text_encoder.real_lengths(token_ids)
        return self.weigh_halves(self.text_encoder(token_ids, lengths))

    def weigh_halves(self, features: Tensor) -> Tensor:
        """Give the halves of features [..., E] their lengths, where they have weights."""
        if self.half_weights is None:
            return features
        width = self.vision_head.cls_dim
        halves = features[..., :width], features[..., width:]
        weighed = zip(halves, self.half_weights, strict=True)
        return torch.cat([F.normalize(half, dim=-1) * weight for half, weight in weighed], dim=-1)

    @property
    def patch_size(self) -> int:
        """The number of pixels that the sides of a picture must be a multiple of."""
        return self.backbone.patch_size

    def patch_dim(self, embedding: Embedding = "patch") -> int:
        """Return the width of patch features."""
        if embedding == "backbone":
            return self.backbone.width
        is_joined = embedding in {"cls_patch", "value_patch"}
        dim = self.vision_head.dim
        return self.vision_head.cls_dim + dim if is_joined else dim

    def encode_patches(self, images: Tensor, embedding: Embedding = "patch") -> Tensor:
        """Return patch features [B, h, w, Dp] to compare with ``dense_text`` (paper, Table 8).

        Args:
            images: Normalised pictures [B, C, H, W].
            embedding: ``patch``: the output patches (with ``cls`` pooling, where no patch was
                aligned, their values); ``value``: MaskCLIP's values of the last attention, of the
                head's blocks or else of the backbone; ``cls_patch``, ``value_patch``: the cls
                token or the value, joined with the output patch; ``backbone``: the frozen patches
                themselves, which DINOv3's segmentation notebook scores.

        Raises:
            ConfigError: If the model has no such embedding.
        """
        self.check_embedding(embedding)
        is_value = embedding == "value" or (
            embedding == "patch" and self.vision_head.config.pooling == "cls"
        )
        if is_value and not self.vision_head.config.num_blocks:
            return self._backbone_values(images)
        return self._aligned(images, self.backbone(images), embedding)

    def encode_patches_beside(
        self, images: Tensor, embedding: Embedding = "patch"
    ) -> tuple[Tensor, Tensor]:
        """Return ``encode_patches`` and the backbone's own patches [B, h, w, D], in one pass.

        Raises:
            ConfigError: If the model has no such embedding.
        """
        self.check_embedding(embedding)
        given = self.backbone(images)
        return self._aligned(images, given, embedding), given.patch_map()

    def _aligned(self, images: Tensor, given: Tokens, embedding: Embedding) -> Tensor:
        head = self.vision_head
        if embedding == "patch" and head.config.pooling == "cls":
            embedding = "value"
        if embedding == "backbone":
            return given.patch_map()
        if embedding == "value" and not head.config.num_blocks:
            return self._backbone_values(images)
        if embedding == "value":
            return head.values(given).patch_map()
        tokens: Tokens = head(given)
        if embedding == "patch":
            return tokens.patch_map()
        if embedding == "cls_patch":
            first = repeat_over_grid(tokens.cls, tokens.grid)
        elif head.config.num_blocks:
            first = head.values(given).patch_map()
        else:
            first = self._backbone_values(images)
        return self.weigh_halves(torch.cat([first, tokens.patch_map()], dim=-1))

    def dense_text(
        self, text_features: Tensor, embedding: Embedding = "patch", value_text: TextHalf = "cls"
    ) -> Tensor:
        """Return the part of text features [N, E] that patches are compared with, [N, Dp].

        Where the cls token makes the first half, output patches are compared with the second one,
        joined embeddings with the whole, and values with the first one (inferred: the paper does
        not say); the backbone's patches with the second one. Else it is the whole for all.

        Args:
            text_features: Text features.
            embedding: That of the patches.
            value_text: The half for values: of the ``cls`` token or of the output ``patch``.

        Raises:
            ConfigError: If the model has no such embedding.
        """
        self.check_embedding(embedding)
        width = self.vision_head.cls_dim
        if self.vision_head.config.cls_projection is not None:
            raise ConfigError("A model with `cls_projection` cannot compare patches with text.")
        if embedding in {"cls_patch", "value_patch"} or not width:
            return text_features
        is_first = embedding == "value" and value_text == "cls"
        return text_features[:, :width] if is_first else text_features[:, width:]

    def check_embedding(self, embedding: Embedding) -> None:
        """Pass if patches can have this embedding.

        Raises:
            ConfigError: If they cannot; the message says why.
        """
        config = self.vision_head.config
        if embedding in {"cls_patch", "value_patch"} and not self.vision_head.cls_dim:
            message = f"embedding {embedding} needs a text feature of two halves, which pooling"
            raise ConfigError(f"{message} {config.pooling} has not: use patch or value.")
        if embedding in {"value", "value_patch"} and config.raw_cls is not None:
            message = f"embedding {embedding} needs values beside an aligned cls token, and this"
            raise ConfigError(f"{message} model's cls half is raw: use patch or cls_patch.")
        text_width = self.embed_dim - self.vision_head.cls_dim
        if embedding == "backbone" and self.backbone.width != text_width:
            message = f"embedding backbone compares patches of width {self.backbone.width} with a"
            raise ConfigError(f"{message} text feature of width {text_width}: use patch.")
        has_values = config.num_blocks > 0 or self.backbone.has_values
        if embedding in {"value", "value_patch"} and not has_values:
            message = f"embedding {embedding} needs a last attention, which this model has not"
            raise ConfigError(f"{message}: use patch.")

    def _backbone_values(self, images: Tensor) -> Tensor:
        tokens: Tokens = self.vision_head(self.backbone.values(images))
        return tokens.patch_map()

    @torch.no_grad()
    def clamp_logit_scale(self) -> None:
        """Keep the logits' factor between 1 and 100, after every training step."""
        self.logit_scale.clamp_(0, _MAX_LOGIT_SCALE)

    def trainable_state_dict(self) -> dict[str, Tensor]:
        """Return what training changes: neither a frozen backbone nor untouched text layers."""
        state = self.state_dict()
        return {name: value for name, value in state.items() if name not in self._frozen}

    def load_trainable(
        self,
        state: Mapping[str, Tensor],
        source: str | Path,
        names: Mapping[str, str] | None = None,
    ) -> None:
        """Take the values of a ``trainable_state_dict``.

        Args:
            state: The values; they become the parameters' storage.
            source: Where they come from, for the error.
            names: What the source calls a key, where it has a name of its own for it.

        Raises:
            CheckpointError: If a key is missing, unexpected or has another shape.
        """
        check_keys(state, self.trainable_state_dict(), source, names)
        self.load_state_dict(dict(state), strict=False, assign=True)

    def frozen_hash(self) -> str:
        """Return the SHA-256 of all that is frozen: what saved files leave out."""
        frozen = {
            name: value
            for name, value in self.text_encoder.named_parameters(prefix="text_encoder")
            if name in self._frozen
        }
        backbone = self.backbone.weights_hash if self.backbone.config.frozen else ""
        return hashlib.sha256(f"{backbone} {hash_tensors(frozen)}".encode()).hexdigest()
