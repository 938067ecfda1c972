"""timm's vision transformer block with fewer passes over memory, for backbones that never train."""

from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import Mlp
from timm.models.vision_transformer import Attention, Block, LayerScale
from torch import Tensor, nn


def fuse_blocks(module: nn.Module) -> None:
    """Let the blocks of a frozen vision transformer compute as `FusedBlock`, in place.

    Modules, weights and their names stay; blocks of another kind are left as they are.
    """
    for block in module.modules():
        if type(block) is Block:
            block.__class__ = FusedBlock


class FusedBlock(Block):  # type: ignore[misc]
    """A block that, on a CPU and without gradients, adds residuals within its products.

    A linear layer of PyTorch copies its bias over the result before it multiplies, and layer scale,
    residual and activation are passes of their own, with memory of their own. Elsewhere, and where
    an attention or a feed-forward layer is not the plain one, it is timm's block.
    """

    def forward(self, x: Tensor, *args: Any, **options: Any) -> Tensor:
        """Return the tokens ``[B, N, D]`` after the block."""
        if args or options or not self._is_plain(x):
            tokens: Tensor = super().forward(x, *args, **options)
            return tokens
        tokens = x.clone(memory_format=torch.contiguous_format)
        _add(tokens, self._attend(self.norm1(x)), self.attn.proj, self.ls1)
        hidden = torch.ops.aten.gelu_(_linear(self.norm2(tokens), self.mlp.fc1))
        _add(tokens, hidden, self.mlp.fc2, self.ls2)
        return tokens

    def _is_plain(self, x: Tensor) -> bool:
        attention, mlp = self.attn, self.mlp
        return (
            x.device.type == "cpu"
            and not (self.training or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"))
            and not torch.compiler.is_compiling()
            and not torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
            and type(attention) is Attention
            and attention.gate is None
            and isinstance(attention.norm, nn.Identity)
            and type(mlp) is Mlp
            and isinstance(mlp.fc1, nn.Linear)
            and isinstance(mlp.norm, nn.Identity)
            and type(mlp.act) is nn.GELU
            and mlp.act.approximate == "none"
            and all(isinstance(ls, nn.Identity | LayerScale) for ls in (self.ls1, self.ls2))
        )

    def _attend(self, x: Tensor) -> Tensor:
        attention = self.attn
        shape = (*x.shape[:2], 3, attention.num_heads, attention.head_dim)
        query, key, value = _linear(x, attention.qkv).view(shape).permute(2, 0, 3, 1, 4).unbind(0)
        query, key = attention.q_norm(query), attention.k_norm(key)
        attended = F.scaled_dot_product_attention(query, key, value, scale=attention.scale)
        return attended.transpose(1, 2).flatten(2)


def _linear(x: Tensor, layer: nn.Linear) -> Tensor:
    product = x.flatten(0, 1) @ layer.weight.t()
    if layer.bias is not None:
        product += layer.bias
    return product.view(*x.shape[:2], -1)


def _add(residual: Tensor, x: Tensor, layer: nn.Linear, scale: nn.Module) -> None:
    """Add the scaled result of a linear layer to the residual, in place."""
    weight, bias = layer.weight, layer.bias
    if isinstance(scale, LayerScale):
        weight = weight * scale.gamma[:, None]
        bias = None if bias is None else bias * scale.gamma
    if bias is not None:
        residual += bias
    rows = residual.view(-1, residual.shape[-1])
    torch.addmm(rows, x.flatten(0, 1), weight.t(), out=rows)  # PyTorch counts it, not addmm_
