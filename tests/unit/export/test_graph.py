from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from dinotxt.checkpoints.exported import describe_file
from dinotxt.errors import CheckpointError
from dinotxt.export import graph
from dinotxt.export.graph import quantize, write_onnx


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 64)

    def forward(self, values: Tensor) -> Tensor:
        return self.layer(values)  # type: ignore[no-any-return]


def test_weights_beyond_the_limit_of_a_file_lie_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph, "_MAX_BYTES", 0)
    module, values = Scaled().eval(), torch.ones(2, 64)
    path = tmp_path / "model.onnx"
    write_onnx(module, {"values": values}, ["out"], path, dynamic={"values": (0,)})
    assert {file.name for file in tmp_path.iterdir()} == {"model.onnx", "model.onnx.data"}
    assert describe_file(path).data_sha256 is not None
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"values": np.ones((5, 64), dtype=np.float32)})
    with torch.no_grad():
        assert np.allclose(found, module(torch.ones(5, 64)).numpy(), atol=1e-6)


def test_a_file_that_gives_other_features_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph, "_TOLERANCE", -1.0)
    module, values = Scaled().eval(), torch.ones(2, 64)
    with pytest.raises(CheckpointError, match="gives other features"):
        write_onnx(module, {"values": values}, ["out"], tmp_path / "a.onnx", dynamic={})
    assert list(tmp_path.iterdir()) == []


class Layers(nn.Module):
    """Two feed-forward layers over tokens and a projection of their mean."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.up = nn.ModuleList(nn.Linear(32, 64) for _ in range(2))
        self.down = nn.ModuleList(nn.Linear(64, 32) for _ in range(2))
        self.projection = nn.Linear(32, 16)

    def forward(self, tokens: Tensor) -> Tensor:
        for up, down in zip(self.up, self.down, strict=True):
            tokens = tokens + down(nn.functional.gelu(up(tokens)))
        return self.projection(tokens.mean(dim=1))  # type: ignore[no-any-return]


def test_eight_bits_spare_projections_and_the_first_feed_forward_output(tmp_path: Path) -> None:
    tokens = torch.randn(3, 5, 32, generator=torch.Generator().manual_seed(0))
    source, path = tmp_path / "fp32.onnx", tmp_path / "int8.onnx"
    write_onnx(Layers().eval(), {"tokens": tokens}, ["out"], source, dynamic={"tokens": (0,)})
    quantize(source, path)
    products = [node.op_type for node in onnx.load(path).graph.node if "MatMul" in node.op_type]
    assert products == ["MatMulInteger", "MatMul", "MatMulInteger", "MatMulInteger", "MatMul"]
    ours, theirs = (
        onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(
            None, {"tokens": tokens.numpy()}
        )[0]
        for file in (path, source)
    )
    assert not np.array_equal(ours, theirs)
    assert np.abs(ours - theirs).max() < 0.05 * np.abs(theirs).max()
