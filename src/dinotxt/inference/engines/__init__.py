"""What runs the towers; the engines are modules of their own: ``torch_towers``, ``onnx_towers``."""

from dinotxt.inference.engines.towers import (
    ConvolutionalTowers,
    DenseTowers,
    FrozenTowers,
    SquareTowers,
    Towers,
)

__all__ = ["ConvolutionalTowers", "DenseTowers", "FrozenTowers", "SquareTowers", "Towers"]
