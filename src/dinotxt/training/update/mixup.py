"""Mixing the pairs of a micro-batch with one another, as features of both towers.

Mixup (Zhang et al., 2018) on features (manifold mixup, Verma et al., 2019): a blend of two pictures
is told by the blend of their captions. Few pairs fill the space between them that way.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dinotxt.models.vision import Tokens


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """How much of each pair stays, and which other pair the rest comes from.

    Attributes:
        share: What stays of a pair, ``[B]``, from 0 to 1.
        partner: The other pair, ``[B]``.
    """

    share: Tensor
    partner: Tensor

    @classmethod
    def draw(cls, count: int, strength: float, device: torch.device) -> "Mixture":
        """Draw the shares from Beta(strength, strength) and the partners, by torch's generator."""
        strengths = torch.full((count,), strength)
        share = torch.distributions.Beta(strengths, strengths).sample()
        return cls(share.to(device), torch.randperm(count).to(device))

    def blend(self, features: Tensor) -> Tensor:
        """Mix features ``[B, ...]`` along the first axis."""
        share = self.share.to(features.dtype).view(-1, *[1] * (features.ndim - 1))
        return share * features + (1 - share) * features[self.partner]

    def blend_tokens(self, tokens: Tokens) -> Tokens:
        """Mix the tokens of pictures, each with that of the same place."""
        cls, registers, patches = map(self.blend, (tokens.cls, tokens.registers, tokens.patches))
        return Tokens(cls, registers, patches, tokens.grid)
