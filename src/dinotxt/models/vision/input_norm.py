"""What happens to the backbone's tokens before the vision head maps them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dinotxt.models.config import RawClsConfig

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


class RawCls(nn.Module):
    """The backbone's cls token as a feature: a power, then scaled and partly centred channels.

    Args:
        config: The power and the share of the mean that goes.
        dim: Width D of the token.
    """

    def __init__(self, config: RawClsConfig, dim: int) -> None:
        super().__init__()
        self.config = config
        self.norm = Standardize(dim)

    def raised(self, cls: Tensor) -> Tensor:
        """Raise cls tokens [..., D] to the power, with their sign."""
        return cls.sign() * cls.abs() ** self.config.power

    def forward(self, cls: Tensor) -> Tensor:
        """Return the feature [..., D] of cls tokens."""
        return self.scaled(self.raised(cls))

    def scaled(self, raised: Tensor) -> Tensor:
        """Return the feature [..., D] of cls tokens that were raised."""
        return (raised - self.config.center * self.norm.mean) / self.norm.std


def drop_channels(tokens: Tensor, rate: float) -> Tensor:
    """Zero channels of whole pictures and scale up the others; tokens are [B, N, D].

    All tokens of a picture lose the same channels, so that dropping commutes with averaging.
    """
    return tokens * F.dropout(torch.ones_like(tokens[:, :1]), rate)
