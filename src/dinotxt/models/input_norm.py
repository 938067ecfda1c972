"""What happens to the backbone's tokens before the vision head maps them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_MIN_STD = 1e-3


class Standardize(nn.Module):
    """Subtracts a mean and divides by a deviation, one of each a channel, fixed before training."""

    mean: Tensor
    std: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Take the mean and deviation [D] of the training set's tokens.

        A channel that hardly varies gets a deviation of 0.001.
        """
        self.mean.copy_(mean)
        self.std.copy_(std.clamp_min(_MIN_STD))

    def forward(self, tokens: Tensor) -> Tensor:
        """Standardise tokens [..., D]."""
        return (tokens - self.mean) / self.std


def drop_channels(tokens: Tensor, rate: float) -> Tensor:
    """Zero channels of whole pictures and scale up the others; tokens are [B, N, D].

    All tokens of a picture lose the same channels, so that dropping commutes with averaging.
    """
    return tokens * F.dropout(torch.ones_like(tokens[:, :1]), rate)
