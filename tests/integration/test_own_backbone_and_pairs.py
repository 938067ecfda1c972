"""A stranger's backbone and pairs become a trained, evaluated, saved model without code."""

import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import yaml
from PIL import Image
from safetensors.torch import save_file
from tests.integration.verbs import answer, call

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "own-backbone.md"
TINY = {"embed_dim": 64, "depth": 1, "num_heads": 1, "img_size": 56}
MODULE = '''
import torch
from torch import nn

class Strange(nn.Module):
    """A two-layer network over five channels, with timm's forward_features."""

    num_features = 16

    def __init__(self, scale: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(5, 16, 8, stride=8)
        self.patch_size = 8
        self.scale = scale

    def forward_features(self, images):
        return self.conv(images).tanh() * self.scale

def build(scale=1.0):
    return Strange(scale)
'''

Settings = dict[str, Any]


def run(*arguments: object) -> dict[str, Any]:
    result = call(*arguments, "--json", "-")
    assert result.exit_code == 0, result.output
    return answer(result)


def write_pairs(folder: Path, save: Callable[[int, Path], Path]) -> Path:
    (folder / "scans").mkdir()
    rows = ["path,caption"]
    for number in range(12):
        path = save(number, folder / "scans" / f"{number:04d}")
        finding = "a fracture" if number % 2 else "no findings"
        rows += [f"scans/{path.name},a scan with {finding}", f"scans/{path.name},scan {number}"]
    (folder / "pairs.csv").write_text("\n".join(rows))
    return folder / "pairs.csv"


def grey16(number: int, stem: Path) -> Path:
    values = np.random.default_rng(number).integers(0, 4096, (60, 70), dtype=np.uint16)
    Image.fromarray(values).save(stem.with_suffix(".png"))
    return stem.with_suffix(".png")


def five_channels(number: int, stem: Path) -> Path:
    values = np.random.default_rng(number).integers(0, 1000, (64, 80, 6), dtype=np.uint16)
    np.save(stem.with_suffix(".npy"), values)
    return stem.with_suffix(".npy")


def timm_file(folder: Path) -> Settings:
    model = timm.create_model("vit_small_patch14_dinov2", num_classes=0, **TINY)
    save_file(model.state_dict(), folder / "backbone.safetensors")
    weights = str(folder / "backbone.safetensors")
    return {"name": "vit_small_patch14_dinov2", "weights": weights, "options": TINY}


def hugging_face_folder(folder: Path) -> Settings:
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=56, patch_size=14
    )
    Dinov2Model(config).save_pretrained(folder / "hf")
    (folder / "hf" / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.1, 0.2, 0.3], "image_std": [0.2, 0.2, 0.2]})
    )
    return {"name": f"hf:{folder / 'hf'}"}


def own_function(folder: Path) -> Settings:
    (folder / "strange_network.py").write_text(MODULE)
    options = {"scale": 2.0}
    return {"name": "strange_network:build", "in_channels": 5, "options": options}


def config(folder: Path, backbone: Settings, **data: Any) -> Path:
    content = {
        "output": str(folder / "run"),
        "steps": 4,
        "batch_size": 4,
        "model": {
            "backbone": backbone,
            "vision_head": {"num_blocks": 1, "dim": 64},
            "text_encoder": {"kind": "transformer", "width": 32, "layers": 1, "heads": 2},
        },
        "data": {"train": str(folder / "pairs.csv"), "val": 0.3, "size": 56, "num_workers": 0}
        | data,
        "optim": {"warmup_steps": 1},
    }
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize("backbone", [timm_file, hugging_face_folder])
def test_a_backbone_by_file_or_folder_learns_from_16_bit_grey(
    backbone: Callable[[Path], Settings], tmp_path: Path
) -> None:
    pairs = write_pairs(tmp_path, grey16)
    own = config(tmp_path, backbone(tmp_path), channels=[0, 0, 0], value_range=[0, 4095])
    trained = run("train", own)
    assert (trained["steps"], trained["skipped"]) == (4, [])
    report = run("eval", "retrieval", "--model", trained["run"], "--data", pairs)
    assert report["n"] == 12
    saved = json.loads(Path(trained["best"]["path"], "config.json").read_text())["transform"]
    assert saved["mapping"] == {"channels": [0, 0, 0], "high": 4095}  # 0 is the default
    if backbone is hugging_face_folder:
        assert saved["mean"] == [0.1, 0.2, 0.3]


def test_a_function_of_your_own_learns_from_five_channels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    pairs = write_pairs(tmp_path, five_channels)
    mapping = {"channels": [5, 0, 1, 2, 3], "value_range": [0, 1000]}
    own = config(tmp_path, own_function(tmp_path), **mapping)
    trained = run("train", own)
    saved = ("--model", trained["run"])
    refused = call("eval", "retrieval", *saved, "--data", pairs)
    assert refused.exit_code == 1
    assert "--trust-code" in refused.output
    report = run("eval", "retrieval", *saved, "--trust-code", "--data", pairs)
    assert report["n"] == 12
    picture = tmp_path / "scans" / "0003.npy"
    answer = run("classify", picture, *saved, "--trust-code", "--labels", "fracture,fine")
    assert len(answer["results"][0]["labels"]) == 2
    sys.modules.pop("strange_network")


def test_every_command_of_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path, grey16)
    timm_file(tmp_path)
    text = GUIDE.read_text("utf-8")
    settings = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[0]
    content = yaml.safe_load(settings)
    content["model"]["backbone"]["options"] = TINY
    content |= {"steps": 4, "batch_size": 4}
    content["data"] |= {"size": 56, "num_workers": 0}
    content["optim"]["warmup_steps"] = 1
    (tmp_path / "scans.yaml").write_text(yaml.safe_dump(content))
    commands = [
        shlex.split(line)
        for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
        for line in block.splitlines()
        if "own" not in line.split()  # several sets: test_sources trains on two
    ]
    assert len(commands) == 8
    for name, *arguments in commands:
        assert name == "dinotxt"
        result = call(*arguments)
        assert result.exit_code == 0, (arguments, result.output)
    assert (tmp_path / "runs" / "cached" / "model" / "config.json").is_file()
