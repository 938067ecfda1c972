"""The two-tower model of "DINOv2 Meets Text" (dino.txt)."""

import hashlib
import math
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from dinotxt.errors import ConfigError
from dinotxt.models.backbone import Backbone
from dinotxt.models.config import ModelConfig, PretrainedTextConfig, TransformerTextConfig
from dinotxt.models.drop_path import SubsetDraw
from dinotxt.models.pretrained_text import PretrainedTextEncoder
from dinotxt.models.text_encoder import TextEncoder
from dinotxt.models.tokens import Tokens
from dinotxt.models.vision_head import VisionHead
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
    """

    def __init__(
        self,
        backbone: Backbone,
        vision_head: VisionHead,
        text_encoder: TextEncoder | PretrainedTextEncoder,
        *,
        logit_scale_init: float = math.log(1 / 0.07),
        logit_scale_frozen: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.vision_head = vision_head
        self.text_encoder = text_encoder
        self.logit_scale = nn.Parameter(torch.tensor(logit_scale_init))
        self._frozen = {name for name, value in self.named_parameters() if not value.requires_grad}
        self.logit_scale.requires_grad_(not logit_scale_frozen)

    @classmethod
    def from_config(cls, config: ModelConfig, *, initialize: bool = True) -> "DinoTxt":
        """Build the model; the backbone and a pretrained text encoder get their weights.

        Args:
            config: The architecture.
            initialize: Initialise what is trained from scratch; without it those parameters have
                no storage until ``load_trainable`` gives them values.

        Raises:
            ConfigError: If the configuration does not hold together.
            CheckpointError: If weights are missing or do not fit.
        """
        backbone = Backbone.from_config(config.backbone)
        text_encoder: TextEncoder | PretrainedTextEncoder
        with nullcontext() if initialize else torch.device("meta"):
            vision_head = VisionHead(config.vision_head, backbone.width)
            if isinstance(config.text_encoder, TransformerTextConfig):
                text_encoder = TextEncoder(config.text_encoder, vision_head.embed_dim)
        if isinstance(config.text_encoder, PretrainedTextConfig):
            text_encoder = PretrainedTextEncoder(config.text_encoder, vision_head.embed_dim)
        return cls(
            backbone,
            vision_head,
            text_encoder,
            logit_scale_init=config.logit_scale_init,
            logit_scale_frozen=config.logit_scale_frozen,
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
        return self.vision_head.pool(self.vision_head(tokens, draw=draw))

    def encode_text(self, token_ids: Tensor, lengths: Tensor) -> Tensor:
        """Return text features [B, E] of padded token ids [B, L] and their lengths [B]."""
        return self.text_encoder(token_ids, lengths)  # type: ignore[no-any-return]

    def encode_patches(self, images: Tensor) -> Tensor:
        """Return patch features [B, h, w, D] to compare with ``dense_text``.

        With ``cls`` pooling no patch was aligned: they are MaskCLIP's values of the last attention
        then, of the head's blocks or else of the backbone.
        """
        if self.vision_head.config.pooling != "cls":
            tokens: Tokens = self.vision_head(self.backbone(images))
        elif self.vision_head.config.num_blocks:
            tokens = self.vision_head.values(self.backbone(images))
        else:
            tokens = self.vision_head(self.backbone.values(images))
        return tokens.patch_map()

    def dense_text(self, text_features: Tensor) -> Tensor:
        """Return the part of text features [N, E] that patches are compared with, [N, D].

        The second half where the cls token makes the first one, else the whole.

        Raises:
            ConfigError: If patches have another width than the text features.
        """
        if self.vision_head.config.pooling.startswith("cls_"):
            return text_features[:, self.vision_head.dim :]
        if self.vision_head.config.cls_projection is not None:
            raise ConfigError("A model with `cls_projection` cannot compare patches with text.")
        return text_features

    @torch.no_grad()
    def clamp_logit_scale(self) -> None:
        """Keep the logits' factor between 1 and 100, after every training step."""
        self.logit_scale.clamp_(0, _MAX_LOGIT_SCALE)

    def trainable_state_dict(self) -> dict[str, Tensor]:
        """Return what training changes: neither a frozen backbone nor untouched text layers."""
        state = self.state_dict()
        return {name: value for name, value in state.items() if name not in self._frozen}

    def load_trainable(self, state: Mapping[str, Tensor], source: str | Path) -> None:
        """Take the values of a ``trainable_state_dict``.

        Args:
            state: The values; they become the parameters' storage.
            source: Where they come from, for the error.

        Raises:
            CheckpointError: If a key is missing, unexpected or has another shape; all are listed.
        """
        check_keys(state, self.trainable_state_dict(), source)
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
