from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from dinotxt.export.graph import quantize, write_onnx


def _network() -> nn.Module:
    torch.manual_seed(0)
    first, depthwise = nn.Conv2d(3, 64, 7), nn.Conv2d(64, 64, 7, groups=64)
    last = nn.Conv2d(64, 256, 3)
    with torch.no_grad():
        last.weight[0] = 0  # a filter that has no scale of its own
    return nn.Sequential(first, nn.ReLU(), depthwise, nn.ReLU(), last).eval()


def test_convolutions_are_stored_in_eight_bits_and_compute_as_before(tmp_path: Path) -> None:
    pixels = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    source, path = tmp_path / "fp32.onnx", tmp_path / "int8.onnx"
    write_onnx(_network(), {"pixels": pixels}, ["out"], source, dynamic={"pixels": (0,)})
    quantize(source, path)
    assert path.stat().st_size < 0.4 * source.stat().st_size
    features = []
    for file in (source, path):
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        features.append(session.run(None, {"pixels": pixels.numpy()})[0])
    assert np.isfinite(features[1]).all()
    assert not np.array_equal(*features)
    error = np.abs(features[1] - features[0]).max() / np.abs(features[0]).max()
    assert error < 0.01


def test_the_first_and_depthwise_layers_keep_their_weights(tmp_path: Path) -> None:
    source, path = tmp_path / "fp32.onnx", tmp_path / "int8.onnx"
    write_onnx(_network(), {"pixels": torch.ones(1, 3, 24, 24)}, ["out"], source, dynamic={})
    quantize(source, path)
    shapes = {
        tuple(one.dims)
        for one in onnx.load(path).graph.initializer
        if one.data_type == onnx.TensorProto.INT8
    }
    assert shapes == {(256, 64, 3, 3)}
