"""MaskCLIP's patch values (Zhou et al., 2022): the last attention of a backbone skipped."""

import copy
from typing import Any

from torch import Tensor, nn

_POSITION_BIASES = ("rel_pos", "relative_position_bias_table")
_ATTENDING = ("attn", "attns", "fused_attn")  # the last two: blocks whose branches run side by side


class OwnValue(nn.Module):
    """An attention in which each token sees itself alone, so that its value is what it gets.

    Args:
        attention: Any self-attention on tokens [B, N, D] or on a map [B, h, w, D], or a whole
            block that holds one and else treats each token by itself; its weights are shared.
            What it adds by position has no meaning here and is left out.
    """

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        alone = _twin(attention)
        for name in _POSITION_BIASES:
            if getattr(alone, name, None) is not None:
                setattr(alone, name, None)
        self.attention = alone

    def forward(self, tokens: Tensor, *_: object, **__: object) -> Tensor | tuple[Tensor, None]:
        """Return the projected values in the shape of the tokens, as the attention does."""
        single = tokens.reshape(-1, *(1 for _ in tokens.shape[1:-1]), tokens.shape[-1])
        if isinstance(self.attention, nn.MultiheadAttention):
            values, weights = self.attention(single, single, single, need_weights=False)
            return values.reshape(tokens.shape), weights
        return self.attention(single).reshape(tokens.shape)  # type: ignore[no-any-return]


def has_values(module: Any) -> bool:
    """Tell if a module is built as timm's vision transformers: ``blocks`` that attend."""
    blocks = getattr(module, "blocks", None)
    if not isinstance(blocks, nn.Sequential | nn.ModuleList) or not len(blocks):
        return False
    return any(getattr(blocks[-1], name, None) is not None for name in _ATTENDING)


def without_last_attention(module: Any, name: str = "blocks") -> Any:
    """Return a module that shares all weights and keeps the values of its last attention.

    The residual, the feed-forward layer and the norms of the last block stay (as in the public
    MaskCLIP code and in TCL's).

    Args:
        module: One that has blocks that attend, see ``has_values``.
        name: What its list of blocks is called.
    """
    twin, blocks = _twin(module), _twin(getattr(module, name))
    last = _twin(blocks[-1])
    if hasattr(last, "attn"):
        last.attn = OwnValue(last.attn)
    blocks[len(blocks) - 1] = last if hasattr(last, "attn") else OwnValue(last)
    setattr(twin, name, blocks)
    return twin


def repeat_over_grid(vector: Tensor, grid: tuple[int, int]) -> Tensor:
    """Repeat one vector a picture [B, D] at every place of a grid: [B, h, w, D]."""
    return vector[:, None, None].expand(-1, *grid, -1)


def _twin(module: Any) -> Any:
    """Copy a module but none of its parameters; what is then set on the copy stays there."""
    twin = copy.copy(module)
    for name in ("_modules", "_parameters"):
        twin.__dict__[name] = dict(module.__dict__[name])
    return twin
