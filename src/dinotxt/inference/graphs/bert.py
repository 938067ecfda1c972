"""BERT as a graph (Devlin et al. 2018), for texts of one length: nothing is padded or masked."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinotxt.inference.graphs.writer import MICROSOFT, Graph

Tensors = Mapping[str, NDArray[Any]]


def add_bert(graph: Graph, token_ids: str, tensors: Tensors, *, heads: int, eps: float) -> str:
    """Add the encoder and return its tokens ``[B, L, H]``.

    Args:
        graph: Where it goes.
        token_ids: int64 ``[B, L]``, real tokens only.
        tensors: The weights by the published names, without a prefix. The table of words may be
            int8 with a scale for each block of a row, under the same name and ``_scale``.
        heads: Attention heads.
        eps: Of the layer norms.
    """
    net = _Encoder(graph, tensors, heads, eps)
    tokens = net.embed(token_ids)
    layer = 0
    while f"encoder.layer.{layer}.output.dense.weight" in tensors:
        tokens = net.layer(tokens, f"encoder.layer.{layer}")
        layer += 1
    return tokens


class _Encoder:
    def __init__(self, graph: Graph, tensors: Tensors, heads: int, eps: float) -> None:
        self._graph, self._tensors = graph, tensors
        self._heads, self._eps = heads, eps

    def embed(self, token_ids: str) -> str:
        graph, table = self._graph, "embeddings.word_embeddings.weight"
        words = self._gather(table, token_ids)
        if f"{table}_scale" in self._tensors:
            words = self._scaled(words, self._gather(f"{table}_scale", token_ids))
        places = self._array("embeddings.position_embeddings.weight")
        places = places + self._array("embeddings.token_type_embeddings.weight")[0]
        width = graph.node("Shape", token_ids, start=1, end=2)
        first = graph.weight(np.array([0], np.int64))
        used = graph.node("Slice", graph.weight(places), first, width, first)
        return self._norm(graph.node("Add", words, used), "embeddings.LayerNorm")

    def layer(self, tokens: str, prefix: str) -> str:
        own = f"{prefix}.attention.self"
        parts = [self._linear(tokens, f"{own}.{name}") for name in ("query", "key", "value")]
        mixed = self._graph.node(
            "MultiHeadAttention", *parts, domain=MICROSOFT, num_heads=self._heads
        )
        update = self._linear(mixed, f"{prefix}.attention.output.dense")
        tokens = self._add_norm(update, tokens, f"{prefix}.attention.output.LayerNorm")
        hidden = self._graph.node("Gelu", self._linear(tokens, f"{prefix}.intermediate.dense"))
        update = self._linear(hidden, f"{prefix}.output.dense")
        return self._add_norm(update, tokens, f"{prefix}.output.LayerNorm")

    def _linear(self, value: str, name: str) -> str:
        return add_linear(
            self._graph, value, self._array(f"{name}.weight"), self._array(f"{name}.bias")
        )

    def _add_norm(self, update: str, tokens: str, name: str) -> str:
        return self._norm(self._graph.node("Add", update, tokens), name)

    def _norm(self, value: str, name: str) -> str:
        scale, shift = (
            self._graph.weight(self._array(f"{name}.{part}")) for part in ("weight", "bias")
        )
        return self._graph.node(
            "LayerNormalization", value, scale, shift, axis=-1, epsilon=float(self._eps)
        )

    def _scaled(self, words: str, scales: str) -> str:
        """Give each block of a word's numbers its scale: ``[B, L, H]`` times ``[B, L, blocks]``."""
        table = "embeddings.word_embeddings.weight"
        width, blocks = (self._tensors[name].shape[1] for name in (table, f"{table}_scale"))
        shapes = ([0, 0, blocks, width // blocks], [0, 0, blocks, 1], [0, 0, width])
        split, single, whole = (self._graph.weight(np.array(one, np.int64)) for one in shapes)
        words = self._graph.node("Reshape", words, split)
        scaled = self._graph.node("Mul", words, self._graph.node("Reshape", scales, single))
        return self._graph.node("Reshape", scaled, whole)

    def _gather(self, name: str, token_ids: str) -> str:
        rows = self._graph.node("Gather", self._graph.weight(self._tensors[name]), token_ids)
        return self._graph.node("Cast", rows, to=1)

    def _array(self, name: str) -> NDArray[np.float32]:
        return np.asarray(self._tensors[name], dtype=np.float32)


def add_linear(
    graph: Graph, value: str, weight: NDArray[np.float32], bias: NDArray[np.float32]
) -> str:
    """Add a linear layer with PyTorch's weight ``[out, in]``."""
    product = graph.node("FusedMatMul", value, graph.weight(weight), domain=MICROSOFT, transB=1)
    return graph.node("Add", product, graph.weight(bias))
