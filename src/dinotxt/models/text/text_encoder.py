"""The text encoder that is trained from scratch (paper, section 3.3): causal, pre-norm."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dinotxt.errors import ConfigError
from dinotxt.models.config import TransformerTextConfig

_NORM_EPS = 1e-5


@dataclass(frozen=True, slots=True)
class PackedTexts:
    """The real tokens of a batch in one row, texts of equal length side by side.

    Attributes:
        ids: Token ids, [T] for T real tokens.
        positions: Place of each token in its text, [T].
        groups: (number of texts, their length) in the order of the row.
        order: Index of each packed text in the batch, [B].
    """

    ids: Tensor
    positions: Tensor
    groups: tuple[tuple[int, int], ...]
    order: Tensor

    @classmethod
    def from_batch(cls, token_ids: Tensor, lengths: Tensor) -> "PackedTexts":
        """Pack padded token ids [B, L] with their lengths [B]."""
        order = torch.argsort(lengths, stable=True)
        sorted_lengths = lengths[order]
        places = torch.arange(token_ids.shape[1], device=token_ids.device)
        real = places < sorted_lengths.unsqueeze(1)
        positions = places.expand_as(real)[real]
        sizes, counts = torch.unique_consecutive(sorted_lengths, return_counts=True)
        groups = tuple(zip(counts.tolist(), sizes.tolist(), strict=True))
        return cls(token_ids[order][real], positions, groups, order)

    def by_length(self, row: Tensor) -> Iterator[Tensor]:
        """Give the parts of a row [T, ...] as [texts, length, ...], one for each length."""
        sizes = [count * length for count, length in self.groups]
        for part, group in zip(torch.split(row, sizes), self.groups, strict=True):
            yield torch.unflatten(part, 0, group)

    def apply(self, function: Callable[[Tensor], Tensor], row: Tensor) -> Tensor:
        """Apply ``function`` to [texts, length, ...] of each length; join the results to a row."""
        return torch.cat([function(part).flatten(0, 1) for part in self.by_length(row)])

    def last(self, row: Tensor) -> Tensor:
        """Return the last token of every text in the order of the batch, [B, ...]."""
        last = torch.cat([part[:, -1] for part in self.by_length(row)])
        return torch.empty_like(last).index_copy(0, self.order, last)


class CausalAttention(nn.Module):
    """Self-attention in which a token sees itself and what comes before it."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, row: Tensor, texts: PackedTexts) -> Tensor:
        """Map a packed row [T, W] to a row [T, W]."""
        return self.proj(texts.apply(self.attend, self.qkv(row)))  # type: ignore[no-any-return]

    def attend(self, qkv: Tensor) -> Tensor:
        """Map queries, keys and values [B, L, 3W] of texts of one length to [B, L, W]."""
        parts = torch.unflatten(qkv, -1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return mixed.transpose(1, 2).flatten(2)


class FeedForward(nn.Module):
    """Two linear layers around the exact GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, row: Tensor) -> Tensor:
        """Map a packed row [T, W] to a row [T, W]."""
        return self.fc2(F.gelu(self.fc1(row)))  # type: ignore[no-any-return]


class TextBlock(nn.Module):
    """Pre-norm causal attention and feed-forward, without layer scale."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, eps=_NORM_EPS)
        self.attention = CausalAttention(width, num_heads)
        self.ffn_norm = nn.LayerNorm(width, eps=_NORM_EPS)
        self.feed_forward = FeedForward(width)

    def forward(self, row: Tensor, texts: PackedTexts) -> Tensor:
        """Map a packed row [T, W] to a row [T, W]."""
        row = row + self.attention(self.attention_norm(row), texts)
        return row + self.feed_forward(self.ffn_norm(row))  # type: ignore[no-any-return]


class TextEncoder(nn.Module):
    """Embeds texts by the end-of-text token of a causal transformer and a linear layer.

    Args:
        config: Sizes of the transformer.
        embed_dim: Width E of the text feature.

    Raises:
        ConfigError: If the heads do not divide the width.
    """

    def __init__(self, config: TransformerTextConfig, embed_dim: int) -> None:
        super().__init__()
        if config.width % config.heads:
            message = f"text_encoder.heads: {config.heads} do not divide the width {config.width}."
            raise ConfigError(message)
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.width)
        self.positional_embedding = nn.Parameter(torch.empty(config.context_length, config.width))
        self.blocks = nn.ModuleList(
            TextBlock(config.width, config.heads) for _ in range(config.layers)
        )
        self.ln_final = nn.LayerNorm(config.width, eps=_NORM_EPS)
        self.projection = nn.Linear(config.width, embed_dim, bias=False)
        self._initialize()

    def forward(self, token_ids: Tensor, lengths: Tensor) -> Tensor:
        """Embed texts; work is done for the real tokens alone.

        Args:
            token_ids: Ids [B, L], padded behind the end-of-text token with anything.
            lengths: Number of real tokens of each text, the end-of-text token with it, [B].

        Returns:
            Text features [B, E], not normalised.
        """
        return self.project(self.pool(token_ids, lengths))

    def real_lengths(self, token_ids: Tensor) -> Tensor:
        """Return the lengths [B] of padded ids [B, L]: up to the end of text, the highest id."""
        return token_ids.argmax(dim=-1) + 1

    def pool(self, token_ids: Tensor, lengths: Tensor) -> Tensor:
        """Return the end-of-text tokens [B, W], normed, which the projection gets."""
        texts = PackedTexts.from_batch(token_ids, lengths)
        row = self.token_embedding(texts.ids) + self.positional_embedding[texts.positions]
        for block in self.blocks:
            row = block(row, texts)
        return self.ln_final(texts.last(row))  # type: ignore[no-any-return]

    def project(self, pooled: Tensor) -> Tensor:
        """Return text features [B, E] of pooled vectors [B, W]."""
        return self.projection(pooled)  # type: ignore[no-any-return]

    def _initialize(self) -> None:
        """Initialise as the released code; the feed-forward biases keep PyTorch's default."""
        width, layers = self.config.width, self.config.layers
        out_std = width**-0.5 * (2 * layers) ** -0.5
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        for block in self.blocks:
            assert isinstance(block, TextBlock)
            nn.init.normal_(block.attention.qkv.weight, std=width**-0.5)
            nn.init.normal_(block.attention.proj.weight, std=out_std)
            nn.init.zeros_(block.attention.proj.bias)
            nn.init.normal_(block.feed_forward.fc1.weight, std=(2 * width) ** -0.5)
            nn.init.normal_(block.feed_forward.fc2.weight, std=out_std)
        nn.init.normal_(self.projection.weight, std=width**-0.5)
