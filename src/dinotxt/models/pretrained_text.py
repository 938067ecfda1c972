"""A pretrained Hugging Face text encoder with a projection (paper, Table 1 and LiT)."""

from typing import Any

import torch
from torch import Tensor, nn

from dinotxt.errors import ConfigError
from dinotxt.models.config import PretrainedTextConfig
from dinotxt.models.huggingface import load_auto_model

_CHUNK = 64


class PretrainedTextEncoder(nn.Module):
    """Embeds texts by a pooled Hugging Face encoder and a linear layer.

    Texts run in chunks of similar length, so little padding is computed. Layers that are not
    tuned are frozen and stay out of saved files.

    Args:
        config: Which encoder and what of it is tuned.
        embed_dim: Width E of the text feature.
        encoder: The encoder, for callers that have it already; None loads ``config.name``.
    """

    def __init__(
        self, config: PretrainedTextConfig, embed_dim: int, *, encoder: Any = None
    ) -> None:
        super().__init__()
        self.config = config
        self.encoder = load_auto_model(config.name) if encoder is None else encoder
        self.encoder.requires_grad_(False)
        for layer in self._last_layers():
            layer.requires_grad_(True)
        self.projection = nn.Linear(self.encoder.config.hidden_size, embed_dim, bias=False)
        nn.init.normal_(self.projection.weight, std=self.projection.in_features**-0.5)

    def forward(self, token_ids: Tensor, lengths: Tensor) -> Tensor:
        """Embed padded token ids [B, L] with their lengths [B]; return features [B, E]."""
        order = torch.argsort(lengths, stable=True)
        pooled = torch.cat(
            [self._pooled(token_ids[part], lengths[part]) for part in torch.split(order, _CHUNK)]
        )
        features = self.projection(pooled)
        return torch.empty_like(features).index_copy(0, order, features)

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
