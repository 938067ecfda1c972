"""What is rewritten in an ONNX file: attention as one operation, convolutions in eight bits."""

from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dinotxt.errors import import_extra

_DOMAIN = "com.microsoft"
_PACKED = [2, 0, 3, 1, 4]  # [B, N, 3, heads, D] to [3, B, heads, N, D]
_BETWEEN = ("Transpose", "Reshape", "Squeeze")
_SMALLEST = 16_384  # weights of a convolution: early ones are small and lose the most
_FEWEST_CHANNELS = 8  # into a filter: so do depthwise and first layers


class _Part(NamedTuple):
    """Queries, keys or values: where they were split off, which of the three, times what."""

    split: Any
    place: int
    factor: float


def fuse_attention(model: Any) -> int:
    """Replace each plain self-attention of an ONNX model, in place, and return how many there were.

    Plain: queries, keys and values come from one product ``[B, N, 3 D]`` and are neither normed,
    rotated nor masked, as in timm's vision transformers. Any other attention stays as it is.

    Args:
        model: An ``onnx.ModelProto``.
    """
    onnx = import_extra("onnx", extra="onnx")
    graph = _Graph(onnx, model.graph)
    found = {}
    for node in model.graph.node:
        fused = graph.attention(node) if node.op_type == "Softmax" else None
        if fused is not None:
            found[fused[-1].output[0]] = fused
    nodes = [one for node in model.graph.node for one in found.get(node.output[0], [node])]
    if found and all(one.domain != _DOMAIN for one in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(_DOMAIN, 1))
    _replace(model.graph, nodes)
    return len(found)


class _Graph:
    """An ONNX graph by its names.

    Args:
        onnx: The package.
        graph: An ``onnx.GraphProto``.
    """

    def __init__(self, onnx: Any, graph: Any) -> None:
        self._onnx = onnx
        self._makers = {name: node for node in graph.node for name in node.output}
        self._constants = {one.name: one for one in graph.initializer}
        self._users: dict[str, list[Any]] = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                self._users[name].append(node)

    def attention(self, softmax: Any) -> list[Any] | None:
        """Return the nodes for a plain attention with this softmax; None for any other."""
        scores = self._makers.get(softmax.input[0])
        weighed = self._only_user(softmax, "MatMul")
        merged = self._only_user(self._only_user(weighed, "Transpose"), "Reshape")
        if scores is None or scores.op_type != "MatMul" or merged is None:
            return None
        parts = [self._part(name) for name in (*scores.input, weighed.input[1])]
        query, key, value = parts
        if query is None or key is None or value is None or value.factor != 1:
            return None
        if [one.place for one in (query, key, value)] != [0, 1, 2]:
            return None
        if not query.split.input[0] == key.split.input[0] == value.split.input[0]:
            return None
        return self._nodes(query.split, query.factor * key.factor, merged.output[0])

    def _nodes(self, split: Any, scale: float, name: str) -> list[Any] | None:
        unpacked = self._makers.get(split.input[0])
        if unpacked is None or unpacked.op_type != "Reshape":
            return None
        shape = self._constant(unpacked.input[1])
        if shape is None or len(shape) != len(_PACKED):
            return None
        make = self._onnx.helper.make_node
        names = [f"{name}_{part}" for part in ("query", "key", "value")]
        settings = {"num_heads": int(shape[3]), "scale": scale}
        return [
            make("Split", unpacked.input[:1], names, name=f"{name}_split", axis=-1, num_outputs=3),
            make("MultiHeadAttention", names, [name], f"{name}_fused", domain=_DOMAIN, **settings),
        ]

    def _part(self, name: str) -> _Part | None:
        """Follow a factor of a product back to where it was split off the packed three."""
        factor, place = 1.0, None
        node = self._makers.get(name)
        while node is not None and not _is_packed(node):
            number = self._number(node.input[1]) if node.op_type in ("Slice", "Mul") else None
            if node.op_type == "Slice" and number is not None:
                place = int(number)
            elif node.op_type == "Mul" and number is not None:
                factor *= number
            elif node.op_type not in _BETWEEN:
                return None
            node = self._makers.get(node.input[0])
        return None if node is None or place is None else _Part(node, place, factor)

    def _number(self, name: str) -> float | None:
        constant = self._constant(name)
        return None if constant is None or constant.size != 1 else float(constant.item())

    def _constant(self, name: str) -> Any:
        one = self._constants.get(name)
        return None if one is None else np.asarray(self._onnx.numpy_helper.to_array(one))

    def _only_user(self, node: Any, kind: str) -> Any:
        users = [] if node is None else self._users[node.output[0]]
        return users[0] if len(users) == 1 and users[0].op_type == kind else None


def _is_packed(node: Any) -> bool:
    return node.op_type == "Transpose" and any(list(one.ints) == _PACKED for one in node.attribute)


def _replace(graph: Any, nodes: list[Any]) -> None:
    """Give a graph these nodes, without those and the constants that nothing needs."""
    needed, kept = {one.name for one in graph.output}, []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    constants = [one for one in graph.initializer if one.name in needed]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(constants)


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
