"""A pretrained Hugging Face text encoder with a projection (paper, Table 1 and LiT)."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dinotxt.errors import ConfigError
from dinotxt.models.config import PretrainedTextConfig
from dinotxt.models.text.bert import load_bert
from dinotxt.models.vision import Standardize, load_auto_model

_CHUNK = 64


class PretrainedTextEncoder(nn.Module):
    """Embeds texts by a pooled Hugging Face encoder and a projection.

    Texts run in chunks of similar length, so little padding is computed. Layers that are not
    tuned are frozen, stay in eval mode and stay out of saved files.

    Args:
        config: Which encoder and what of it is tuned.
        embed_dim: Width E of the text feature.
        cls_dim: Width of its cls half; 0: it has no halves.

    Raises:
        ConfigError: If more layers are to be tuned than there are, or there is no cls half.
        CheckpointError: If the encoder cannot be loaded.
    """

    def __init__(self, config: PretrainedTextConfig, embed_dim: int, *, cls_dim: int = 0) -> None:
        super().__init__()
        self.config = config
        self.encoder = _load(config.name).eval().requires_grad_(False)
        self._tuned = self._last_layers()
        for layer in self._tuned:
            _set_dropout(layer, config.dropout)
            layer.requires_grad_(True)
        width = self.encoder.config.hidden_size
        if config.cls_hidden is not None and not cls_dim:
            raise ConfigError("text_encoder.cls_hidden needs pooling cls_avg or cls_max.")
        own_dim = 0 if config.cls_hidden is None else cls_dim
        self.projection = _linears(width, embed_dim - own_dim)[0]
        self.cls_projection = None
        if config.cls_hidden is not None:
            dropout = [nn.Dropout(config.cls_dropout)] if config.cls_dropout else []
            first, last = _linears(width, config.cls_hidden, cls_dim)
            self.cls_projection = nn.Sequential(
                Standardize(width), first, nn.GELU(), *dropout, last
            )

    def train(self, mode: bool = True) -> "PretrainedTextEncoder":
        """Set the mode of the tuned layers and the projection; the rest stays in eval mode."""
        super().train(mode)
        self.encoder.eval()
        for layer in self._tuned:
            layer.train(mode)
        return self

    def forward(self, token_ids: Tensor, lengths: Tensor) -> Tensor:
        """Embed padded token ids [B, L] with their lengths [B]; return features [B, E]."""
        return self.project(self.pool(token_ids, lengths))

    def real_lengths(self, token_ids: Tensor) -> Tensor:
        """Return the lengths [B] of ids [B, L] that end with the encoder's padding id."""
        padding = getattr(self.encoder.config, "pad_token_id", None) or 0
        places = torch.arange(1, token_ids.shape[1] + 1, device=token_ids.device)
        return ((token_ids != padding) * places).amax(dim=-1).clamp(min=1)

    def pool(self, token_ids: Tensor, lengths: Tensor) -> Tensor:
        """Return the encoder's pooled vectors [B, H], which the projections get."""
        order = torch.argsort(lengths, stable=True)
        pooled = torch.cat(
            [self._pooled(token_ids[part], lengths[part]) for part in torch.split(order, _CHUNK)]
        )
        return torch.empty_like(pooled).index_copy(0, order, pooled)

    def project(self, pooled: Tensor) -> Tensor:
        """Return text features [B, E] of the encoder's pooled vectors [B, H]."""
        features: Tensor = self.projection(pooled)
        if self.cls_projection is None:
            return features
        return torch.cat([self.cls_projection(pooled.detach()), features], dim=-1)

    def _pooled(self, token_ids: Tensor, lengths: Tensor) -> Tensor:
        longest = int(lengths.max())
        token_ids = token_ids[:, :longest]
        mask = torch.arange(longest, device=lengths.device) < lengths.unsqueeze(1)
        tokens = self.encoder(input_ids=token_ids, attention_mask=mask.long()).last_hidden_state
        if self.config.pooling == "cls":
            return tokens[:, 0]  # type: ignore[no-any-return]
        weights = mask.unsqueeze(-1).to(tokens.dtype)
        return (tokens * weights).sum(dim=1) / weights.sum(dim=1)  # type: ignore[no-any-return]

    def _last_layers(self) -> list[nn.Module]:
        wanted = self.config.trainable_layers
        lists = [list(part) for part in self.encoder.modules() if isinstance(part, nn.ModuleList)]
        layers = max(lists, key=len, default=[])
        if wanted > len(layers):
            message = f"text_encoder.trainable_layers: the encoder has only {len(layers)} layers."
            raise ConfigError(message)
        return layers[len(layers) - wanted :]


def _load(name: str) -> Any:
    bert = load_bert(Path(name))
    return load_auto_model(name) if bert is None else bert


def _set_dropout(layer: nn.Module, rate: float) -> None:
    """Drop hidden states at ``rate``, but no attention weights."""
    for part in layer.modules():
        is_attention = hasattr(part, "num_attention_heads")
        for child in part.children():
            if isinstance(child, nn.Dropout):
                child.p = 0.0 if is_attention else rate


def _linears(*widths: int) -> list[nn.Linear]:
    layers = [nn.Linear(before, after) for before, after in pairwise(widths)]
    for layer in layers:
        nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
        nn.init.zeros_(layer.bias)
    return layers
