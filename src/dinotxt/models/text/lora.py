"""Low-rank updates of frozen linear layers (LoRA, Hu et al. 2021)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LowRankLinear(nn.Module):
    """A frozen linear layer plus ``alpha / rank`` times the product of two small matrices.

    The second matrix starts at zero, so the layer starts as it was.

    Args:
        base: The layer; it is frozen.
        rank: Rank of the update.
        alpha: Scale of the update.
    """

    def __init__(self, base: nn.Linear, *, rank: int, alpha: float) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scale = alpha / rank
        self.down = nn.Parameter(torch.empty(rank, base.in_features))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))
        nn.init.normal_(self.down, std=base.in_features**-0.5)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map inputs [..., I] to outputs [..., O]."""
        update = F.linear(F.linear(inputs, self.down), self.up)
        return self.base(inputs) + self.scale * update  # type: ignore[no-any-return]


def add_low_rank_updates(module: nn.Module, *, rank: int, alpha: float) -> None:
    """Replace every linear layer below ``module`` by a ``LowRankLinear`` around it."""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Linear):
            setattr(module, name, LowRankLinear(child, rank=rank, alpha=alpha))
        else:
            add_low_rank_updates(child, rank=rank, alpha=alpha)
