"""Standardise the channels of tokens with fixed statistics of the training set."""

import torch
from torch import Tensor, nn


class ChannelNorm(nn.Module):
    """Subtracts a mean and divides by a deviation a channel; neither is trained.

    They start at 0 and 1, are set by the run's initialisation and saved with the model.

    Args:
        width: Channels D.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens [..., D] to tokens [..., D]."""
        return (tokens - self.mean) / self.deviation
