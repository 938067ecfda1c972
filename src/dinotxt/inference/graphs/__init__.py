"""ONNX graphs of both towers of a model like `lite`, written without torch and without onnx."""

from dinotxt.inference.graphs.towers import (
    image_graph,
    is_supported,
    patch_dim,
    patch_graph,
    text_graph,
)
from dinotxt.inference.graphs.writer import Graph

__all__ = ["Graph", "image_graph", "is_supported", "patch_dim", "patch_graph", "text_graph"]
