"""The vision head's transformer block, in the form that Meta released for dino.txt."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dinotxt.models.vision.drop_path import SubsetDraw, add_on_subset, random_subset

_LAYER_SCALE_INIT = 1e-5
_NORM_EPS = 1e-5
_HIDDEN_MULTIPLE = 64


class Attention(nn.Module):
    """Self-attention; the queries, keys and values have no bias.

    Args:
        dim: Width of the tokens.
        num_heads: Attention heads.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens [B, N, D] to tokens [B, N, D]."""
        qkv = self.qkv(tokens).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def values(self, tokens: Tensor) -> Tensor:
        """Return the projected values without attention (MaskCLIP), [B, N, D]."""
        dim = tokens.shape[-1]
        values = F.linear(tokens, self.qkv.weight[2 * dim :])
        return self.proj(values)  # type: ignore[no-any-return]


class SwiGLU(nn.Module):
    """A gated feed-forward layer; its width is 8/3 of ``dim``, rounded up to 64."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        hidden = -(-int(4 * dim * 2 / 3) // _HIDDEN_MULTIPLE) * _HIDDEN_MULTIPLE
        self.w1 = nn.Linear(dim, hidden)
        self.w2 = nn.Linear(dim, hidden)
        self.w3 = nn.Linear(hidden, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens [..., D] to tokens [..., D]."""
        return self.w3(F.silu(self.w1(tokens)) * self.w2(tokens))  # type: ignore[no-any-return]


class LayerScale(nn.Module):
    """One learned factor a channel, near zero at first."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), _LAYER_SCALE_INIT))

    def forward(self, tokens: Tensor) -> Tensor:
        """Scale tokens [..., D]."""
        return tokens * self.gamma


class VisionBlock(nn.Module):
    """Pre-norm attention and SwiGLU, each with a layer scale and batch-subset drop path.

    Args:
        dim: Width of the tokens.
        num_heads: Attention heads.
        drop_path: Share of the batch that skips a branch in training.
        index: The block's number, which a ``SubsetDraw`` depends on.
    """

    def __init__(self, dim: int, num_heads: int, *, drop_path: float, index: int) -> None:
        super().__init__()
        self.index = index
        self.drop_path = drop_path
        self.norm1 = nn.LayerNorm(dim, eps=_NORM_EPS)
        self.attn = Attention(dim, num_heads)
        self.ls1 = LayerScale(dim)
        self.norm2 = nn.LayerNorm(dim, eps=_NORM_EPS)
        self.mlp = SwiGLU(dim)
        self.ls2 = LayerScale(dim)

    def forward(self, tokens: Tensor, draw: SubsetDraw | None = None) -> Tensor:
        """Map tokens [B, N, D] to tokens [B, N, D]; ``draw`` fixes who skips in training."""
        tokens = self._residual(tokens, 0, draw)
        return self._residual(tokens, 1, draw)

    def values(self, tokens: Tensor) -> Tensor:
        """Return the block's output with values in place of attention (MaskCLIP), [B, N, D]."""
        tokens = tokens + self.ls1(self.attn.values(self.norm1(tokens)))
        return tokens + self.branch(1, tokens)

    def branch(self, branch: int, tokens: Tensor) -> Tensor:
        """Map tokens [B, N, D] by attention (0) or the feed-forward layer (1), norm and scale."""
        if branch == 0:
            return self.ls1(self.attn(self.norm1(tokens)))  # type: ignore[no-any-return]
        return self.ls2(self.mlp(self.norm2(tokens)))  # type: ignore[no-any-return]

    def _residual(self, tokens: Tensor, branch: int, draw: SubsetDraw | None) -> Tensor:
        if not self.training or self.drop_path == 0:
            return tokens + self.branch(branch, tokens)
        if draw is None:
            indices, scale = random_subset(tokens.shape[0], self.drop_path)
        else:
            indices, scale = draw.kept(self.index, branch, self.drop_path)
        return add_on_subset(tokens, partial(self.branch, branch), indices, scale)
