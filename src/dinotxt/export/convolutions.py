"""Convolutions of an ONNX file with weights of eight bits."""

from pathlib import Path
from typing import Any

import numpy as np

from dinotxt.errors import import_extra

_SMALLEST = 16_384  # weights of a layer: early ones are small and lose the most
_FEWEST_CHANNELS = 8  # into a filter: so do depthwise and first layers


def store_convolutions(path: Path) -> None:
    """Give the convolutions of a file weights of eight bits, with one scale for each filter.

    The products stay in fp32: a node turns the weights back, which ONNX Runtime does once where it
    may (``session.disable_quant_qdq``). So speed stays as it was, and the file becomes smaller.

    Args:
        path: The file, which is changed.
    """
    onnx = import_extra("onnx", extra="onnx")
    model = onnx.load(path)
    graph = model.graph
    weights = {one.name: one for one in graph.initializer}
    names = {node.input[1] for node in graph.node if node.op_type == "Conv"}
    nodes = []
    for name in sorted(names & weights.keys()):
        values = onnx.numpy_helper.to_array(weights[name])
        if values.size < _SMALLEST or values.shape[1] < _FEWEST_CHANNELS:
            continue
        graph.initializer.remove(weights[name])
        nodes.append(_add_weights(onnx, graph, name, values))
    for node in reversed(nodes):
        graph.node.insert(0, node)
    onnx.save(model, path)


def _add_weights(onnx: Any, graph: Any, name: str, values: Any) -> Any:
    """Add the integers and their scales, and return the node that makes weights of them."""
    scales = np.abs(values).reshape(len(values), -1).max(axis=1) / 127
    scales = np.where(scales > 0, scales, 1).astype(np.float32)
    integers = np.rint(values / scales.reshape(-1, *[1] * (values.ndim - 1))).astype(np.int8)
    inputs = [f"{name}_int8", f"{name}_scale"]
    for one, array in zip(inputs, (integers, scales), strict=True):
        graph.initializer.append(onnx.numpy_helper.from_array(array, one))
    return onnx.helper.make_node("DequantizeLinear", inputs, [name], name=f"{name}_fp32", axis=0)
