"""EfficientNet-Lite as a graph (Tan & Le 2019; tf_efficientnet_lite of timm, TensorFlow's padding).

Batch norms are folded into the convolutions before them.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinotxt.inference.graphs.writer import Graph

Tensors = Mapping[str, NDArray[Any]]

_STRIDES = (1, 2, 2, 2, 1, 2, 1)  # of the first block of each stage
_NORM_EPS = 1e-3


def add_efficientnet(graph: Graph, pixels: str, tensors: Tensors) -> str:
    """Add the network up to its last map and return that map ``[B, D, h, w]``.

    Args:
        graph: Where it goes.
        pixels: Normalised pictures ``[B, 3, H, W]``.
        tensors: The weights by timm's names.
    """
    net = _Net(graph, tensors)
    value = net.conv(pixels, "conv_stem", "bn1", stride=2)
    for prefix in _blocks(tensors):
        stage, index = (int(part) for part in prefix.split(".")[1:])
        stride = _STRIDES[stage] if index == 0 else 1
        value = net.block(value, prefix, stride)
    return net.conv(value, "conv_head", "bn2")


def _blocks(tensors: Tensors) -> list[str]:
    names = {found[0] for name in tensors if (found := re.match(r"blocks\.\d+\.\d+", name))}
    return sorted(names, key=lambda name: [int(part) for part in name.split(".")[1:]])


class _Net:
    def __init__(self, graph: Graph, tensors: Tensors) -> None:
        self._graph, self._tensors = graph, tensors

    def block(self, value: str, prefix: str, stride: int) -> str:
        """Add an inverted residual, or a depthwise separable block where nothing is widened."""
        if f"{prefix}.conv_pwl.weight" in self._tensors:
            wide = self.conv(value, f"{prefix}.conv_pw", f"{prefix}.bn1")
            deep = self.conv(wide, f"{prefix}.conv_dw", f"{prefix}.bn2", stride=stride)
            last, norm = f"{prefix}.conv_pwl", f"{prefix}.bn3"
            before = self._tensors[f"{prefix}.conv_pw.weight"].shape[1]
        else:
            deep = self.conv(value, f"{prefix}.conv_dw", f"{prefix}.bn1", stride=stride)
            last, norm = f"{prefix}.conv_pw", f"{prefix}.bn2"
            before = self._tensors[f"{prefix}.conv_dw.weight"].shape[0]
        narrow = self.conv(deep, last, norm, is_active=False)
        is_same = stride == 1 and before == self._tensors[f"{last}.weight"].shape[0]
        return self._graph.node("Add", narrow, value) if is_same else narrow

    def conv(
        self, value: str, name: str, norm: str, *, stride: int = 1, is_active: bool = True
    ) -> str:
        """Add a convolution with its norm, and ReLU6 where it is active."""
        weight, bias = self._folded(name, norm)
        side = weight.shape[2]
        value = self._graph.node(
            "Conv",
            value,
            self._graph.weight(weight),
            self._graph.weight(bias),
            auto_pad="SAME_UPPER",
            kernel_shape=[side, side],
            strides=[stride, stride],
            group=weight.shape[0] if weight.shape[1] == 1 else 1,
        )
        if not is_active:
            return value
        limits = (self._graph.weight(np.array(limit, np.float32)) for limit in (0, 6))
        return self._graph.node("Clip", value, *limits)

    def _folded(self, name: str, norm: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        part = {
            key: self._tensors[f"{norm}.{key}"].astype(np.float64)
            for key in ("weight", "bias", "running_mean", "running_var")
        }
        scale = part["weight"] / np.sqrt(part["running_var"] + _NORM_EPS)
        weight = self._tensors[f"{name}.weight"] * scale[:, None, None, None]
        bias = part["bias"] - part["running_mean"] * scale
        return weight.astype(np.float32), bias.astype(np.float32)
