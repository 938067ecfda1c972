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
        weight, bias = _scaled(self.attn.proj, self.ls1)
        tokens = x.contiguous() + (bias + weight @ self._value_bias())
        _add_product(tokens, self._attend(self.norm1(x)), weight)
        hidden = torch.ops.aten.gelu_(_linear(self.norm2(tokens), self.mlp.fc1))
        weight, bias = _scaled(self.mlp.fc2, self.ls2)
        tokens += bias
        _add_product(tokens, hidden, weight)
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
            and all(
                isinstance(norm, nn.Identity)
                for norm in (attention.norm, attention.q_norm, attention.k_norm)
            )
            and type(mlp) is Mlp
            and isinstance(mlp.fc1, nn.Linear)
            and isinstance(mlp.norm, nn.Identity)
            and type(mlp.act) is nn.GELU
            and mlp.act.approximate == "none"
            and all(isinstance(ls, nn.Identity | LayerScale) for ls in (self.ls1, self.ls2))
        )

    def _attend(self, x: Tensor) -> Tensor:
        """Return what the heads see, without the biases of keys and values.

        A bias of keys moves all scores of a query alike, which the softmax takes off; one of values
        moves the result by itself, since the weights add up to 1.
        """
        attention = self.attn
        shape = (*x.shape[:2], 3, attention.num_heads, attention.head_dim)
        product = x.flatten(0, 1) @ attention.qkv.weight.t()
        query, key, value = product.view(shape).permute(2, 0, 3, 1, 4).unbind(0)
        if attention.qkv.bias is not None:
            query += attention.qkv.bias.view(shape[2:])[0][:, None]
        attended = F.scaled_dot_product_attention(query, key, value, scale=attention.scale)
        return attended.transpose(1, 2).flatten(2)

    def _value_bias(self) -> Tensor:
        weight, bias = self.attn.proj.weight, self.attn.qkv.bias
        width = weight.shape[1]
        found: Tensor = weight.new_zeros(width) if bias is None else bias[-width:]
        return found


def _linear(x: Tensor, layer: nn.Linear) -> Tensor:
    product = x.flatten(0, 1) @ layer.weight.t()
    if layer.bias is not None:
        product += layer.bias
    return product.view(*x.shape[:2], -1)


def _scaled(layer: nn.Linear, scale: nn.Module) -> tuple[Tensor, Tensor]:
    """Return the weight and the bias of a linear layer with the layer scale that follows it."""
    weight = layer.weight
    bias = weight.new_zeros(weight.shape[0]) if layer.bias is None else layer.bias
    if not isinstance(scale, LayerScale):
        return weight, bias
    return weight * scale.gamma[:, None], bias * scale.gamma


def _add_product(residual: Tensor, x: Tensor, weight: Tensor) -> None:
    """Add a product to the residual, in place."""
    rows = residual.view(-1, residual.shape[-1])
    torch.addmm(rows, x.flatten(0, 1), weight.t(), out=rows)  # PyTorch counts it, not addmm_
