"""The towers as modules that can be traced: tensors in, tensors out, one size of pictures."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dinotxt.models.dinotxt import DinoTxt
from dinotxt.models.text import PretrainedTextEncoder, TextBlock, TextEncoder
from dinotxt.models.vision import PositionEmbedding


class ImageTower(nn.Module):
    """Image features and patch features of one pass.

    Args:
        model: Both towers.
    """

    def __init__(self, model: DinoTxt) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``[B, E]`` and ``[B, h, w, Dp]`` for normalised pictures ``[B, C, H, W]``."""
        tokens = self.model.backbone(pixels)
        features = self.model.encode_tokens(tokens)
        if self.model.vision_head.config.pooling == "cls":
            return features, self.model.encode_patches(pixels)
        return features, self.model.vision_head(tokens).patch_map()


class TextTower(nn.Module):
    """Text features of padded batches of any size.

    Args:
        model: Both towers.
    """

    def __init__(self, model: DinoTxt) -> None:
        super().__init__()
        self.model = model

    def forward(self, token_ids: Tensor, lengths: Tensor) -> Tensor:
        """Return ``[B, E]`` for padded ids ``[B, L]`` with their lengths ``[B]``."""
        return self.model.encode_text(token_ids, lengths)


class TransformerText(nn.Module):
    """Our causal text transformer without packing.

    Padding stands behind the end token, so the causal mask keeps it out of sight.

    Args:
        encoder: The text encoder.
    """

    def __init__(self, encoder: TextEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, token_ids: Tensor, lengths: Tensor) -> Tensor:
        """Return text features ``[B, E]`` of padded ids ``[B, L]`` with their lengths ``[B]``."""
        encoder = self.encoder
        width = token_ids.shape[1]
        row = encoder.token_embedding(token_ids) + encoder.positional_embedding[:width]
        for block in encoder.blocks:
            assert isinstance(block, TextBlock)
            attention = block.attention
            mixed = attention.attend(attention.qkv(block.attention_norm(row)))
            row = row + attention.proj(mixed)
            row = row + block.feed_forward(block.ffn_norm(row))
        place = (lengths - 1).view(-1, 1, 1).expand(-1, 1, row.shape[-1])
        last = row.gather(1, place).squeeze(1)
        return encoder.projection(encoder.ln_final(last))  # type: ignore[no-any-return]


class PretrainedText(nn.Module):
    """A Hugging Face text encoder in one batch; padding is masked.

    Args:
        encoder: The text encoder.
    """

    def __init__(self, encoder: PretrainedTextEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, token_ids: Tensor, lengths: Tensor) -> Tensor:
        """Return text features ``[B, E]`` of padded ids ``[B, L]`` with their lengths ``[B]``."""
        places = torch.arange(token_ids.shape[1], device=token_ids.device)
        real = places.unsqueeze(0) < lengths.unsqueeze(1)
        seen = real[:, None, None, :].expand(-1, 1, token_ids.shape[1], -1)
        model = self.encoder.encoder
        tokens = model(input_ids=token_ids, attention_mask=seen).last_hidden_state
        if self.encoder.config.pooling == "cls":
            return self.encoder.project(tokens[:, 0])
        weights = real.unsqueeze(-1).to(tokens.dtype)
        pooled = (tokens * weights).sum(dim=1) / weights.sum(dim=1)
        return self.encoder.project(pooled)


@contextmanager
def traceable_text(model: DinoTxt) -> Iterator[TextTower]:
    """Give the text tower with operations in it that do not depend on the texts' lengths."""
    original = model.text_encoder
    traceable: Any
    if isinstance(original, PretrainedTextEncoder):
        traceable = PretrainedText(original)
    else:
        traceable = TransformerText(original)
    model.text_encoder = traceable
    try:
        yield TextTower(model).eval()
    finally:
        model.text_encoder = original


@contextmanager
def baked_positions(model: DinoTxt, side: int) -> Iterator[None]:
    """Give a vision transformer the position embedding of one size, so none is resampled.

    Other backbones are left as they are.
    """
    vit: Any = model.backbone.module
    original = getattr(vit, "_pos_embed", None)
    if not isinstance(original, PositionEmbedding):
        yield
        return
    grid = side // model.backbone.patch_size
    object.__setattr__(vit, "_pos_embed", original.baked((grid, grid)))
    try:
        yield
    finally:
        object.__setattr__(vit, "_pos_embed", original)
