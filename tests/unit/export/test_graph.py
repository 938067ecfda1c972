from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from dinotxt.checkpoints.exported import describe_file
from dinotxt.errors import CheckpointError
from dinotxt.export import graph
from dinotxt.export.graph import write_onnx


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
