"""MaskCLIP's patch values: the last attention of a backbone skipped, its values kept."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def has_values(module: Any) -> bool:
    """Tell if a module is built as timm's plain vision transformer."""
    blocks = getattr(module, "blocks", None)
    if not isinstance(blocks, nn.Sequential | nn.ModuleList) or len(blocks) < 2:
        return False
    parts = ("norm1", "attn", "ls1", "norm2", "mlp", "ls2")
    last: Any = blocks[-1]
    return all(hasattr(last, part) for part in parts) and isinstance(
        getattr(last.attn, "qkv", None), nn.Linear
    )


def last_values(module: Any, images: Tensor) -> Tensor:
    """Return the final tokens [B, N, D] with values for the attention of the last block."""
    output = module.forward_intermediates(
        images,
        indices=[len(module.blocks) - 2],
        stop_early=True,
        intermediates_only=True,
        output_fmt="NLC",
        return_prefix_tokens=True,
    )[0]
    if isinstance(output, Tensor):
        return _skip_attention(module, output)
    patches, prefix = output
    return _skip_attention(module, torch.cat([prefix, patches], dim=1))


def _skip_attention(module: Any, tokens: Tensor) -> Tensor:
    last = module.blocks[-1]
    dim = tokens.shape[-1]
    qkv = last.attn.qkv
    bias = None if qkv.bias is None else qkv.bias[2 * dim :]
    values = last.attn.proj(F.linear(last.norm1(tokens), qkv.weight[2 * dim :], bias))
    tokens = tokens + last.ls1(values)
    tokens = tokens + last.ls2(last.mlp(last.norm2(tokens)))
    return module.norm(tokens)  # type: ignore[no-any-return]
