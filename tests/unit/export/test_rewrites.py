from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from timm.layers import apply_rot_embed_cat
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from dinotxt.export.graph import quantize, write_onnx
from dinotxt.export.rewrites import fuse_attention

DIM, HEADS = 32, 4
TOKENS = torch.randn(2, 5, DIM, generator=torch.Generator().manual_seed(1))


class Own(nn.Module):
    """Attention from one product, with something done to its parts."""

    def __init__(self, change: Any = None, **options: Any) -> None:
        super().__init__()
        self.qkv = nn.Linear(DIM, 3 * DIM)
        self.change = change
        self.options = options

    def forward(self, x: Tensor) -> Tensor:
        packed = self.qkv(x).reshape(*x.shape[:2], 3, HEADS, DIM // HEADS).permute(2, 0, 3, 1, 4)
        parts = packed.unbind(0)
        if self.change is not None:
            parts = self.change(*parts)
        return F.scaled_dot_product_attention(*parts, **self.options).transpose(1, 2).flatten(2)


PLAIN = {
    "blocks": (
        nn.Sequential(Block(DIM, HEADS, qkv_bias=True, init_values=0.5), Block(DIM, HEADS)),
        2,
    ),
    "a scale of its own": (Own(scale=0.7), 1),
}
OTHER = {
    "normed": Block(DIM, HEADS, qk_norm=True),
    "masked": Own(attn_mask=torch.ones(5, 5, dtype=torch.bool).tril()),
    "rotated": Own(
        lambda q, k, v: (*(apply_rot_embed_cat(x, torch.ones(5, 16)) for x in (q, k)), v)
    ),
    "in another order": Own(lambda q, k, v: (k, q, v)),
    "scaled by channel": Own(lambda q, k, v: (q * torch.arange(8.0), k, v)),
    "scaled values": Own(lambda q, k, v: (q, k, v * 2)),
}


def exported(module: nn.Module, path: Path) -> Any:
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    write_onnx(module.eval(), {"x": TOKENS}, ["out"], path, dynamic={"x": (0,)})
    return onnx.load(path)


def run(model: Any, tokens: Tensor = TOKENS) -> Tensor:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return torch.from_numpy(session.run(None, {"x": tokens.numpy()})[0])


@pytest.mark.parametrize("name", PLAIN)
def test_plain_attention_becomes_one_operation_and_gives_the_same(
    name: str, tmp_path: Path
) -> None:
    module, count = PLAIN[name]
    model = exported(module, tmp_path / "fp32.onnx")
    before = run(model)
    assert fuse_attention(model) == count
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("MultiHeadAttention") == count
    assert "Softmax" not in kinds
    onnx.checker.check_model(model)
    torch.testing.assert_close(run(model), before, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(run(model, TOKENS[:1]), before[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", OTHER)
def test_another_attention_stays_as_it_is(name: str, tmp_path: Path) -> None:
    model = exported(OTHER[name], tmp_path / "fp32.onnx")
    nodes = [node.op_type for node in model.graph.node]
    assert "Softmax" in nodes
    assert fuse_attention(model) == 0
    assert [node.op_type for node in model.graph.node] == nodes


def test_files_of_eight_bits_have_it_and_those_of_fp32_do_not(tmp_path: Path) -> None:
    source, path = tmp_path / "fp32.onnx", tmp_path / "int8.onnx"
    exported(PLAIN["blocks"][0], source)
    quantize(source, path)
    kinds = [{node.op_type for node in onnx.load(file).graph.node} for file in (source, path)]
    assert "MultiHeadAttention" not in kinds[0]
    assert kinds[1] >= {"MultiHeadAttention", "MatMulInteger"}


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
