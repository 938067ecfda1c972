"""An exported model where torch and what stands on it cannot be imported."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from PIL import Image

from dinotxt.export.folder import Export
from dinotxt.inference.classifier import ZeroShotClassifier
from dinotxt.inference.encoder import load

SOURCE = Path(__file__).parents[2] / "src"
ABSENT = ("torch", "torchvision", "timm", "open_clip", "transformers", "huggingface_hub", "onnx")
LABELS = ["a dog", "a cat", "snow"]
REFUSE = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""
USE = """
import json, sys
import dinotxt
folder, pictures = sys.argv[1:]
encoder = dinotxt.load(folder)
labels = ["a dog", "a cat", "snow"]
one = pictures + "/0.png"
result = dinotxt.ZeroShotClassifier(encoder, labels)(one)
whole = dinotxt.Segmenter(encoder, labels)(one)
window = dinotxt.Segmenter(encoder, labels, mode=dinotxt.SlidingWindow(32, 16))(one)
index = dinotxt.ImageIndex.build(encoder, pictures, pictures + ".index")
try:
    dinotxt.Segmenter(encoder, labels, mode=dinotxt.HighRes(crops=20))(one)
except dinotxt.DinotxtError as error:
    highres = str(error)
lite = dinotxt.ZeroShotClassifier(dinotxt.load("lite"), labels, templates="simple")(one)
close = dinotxt.Segmenter(
    dinotxt.load("lite"), labels, templates="simple", refine="affinity",
    mode=dinotxt.HighRes(crops=4, areas=(0.5,), shares=(1,), crop_size=64, num_clusters=None),
)(one)
try:
    dinotxt.load("dinov2-vitl14")
except dinotxt.DinotxtError as error:
    other = str(error)
print(json.dumps({
    "top": dict(result.top(3)),
    "whole": list(whole.label_map.shape),
    "window": list(window.label_map.shape),
    "hits": [hit.path for hit in index.search("a dog", k=2)],
    "highres": highres,
    "lite": dict(lite.top(3)),
    "other": other,
    "close": list(close.label_map.shape),
    "torch": any(name.partition(".")[0] == "torch" for name in sys.modules),
}))
"""


@pytest.fixture
def folder(exported: Export) -> Path:
    return exported.folder


@pytest.fixture
def album(tmp_path: Path) -> Path:
    pictures = tmp_path / "album"
    pictures.mkdir()
    for number in range(3):
        Image.effect_noise((50, 40), 30 + 40 * number).convert("RGB").save(
            pictures / f"{number}.png"
        )
    return pictures


def run(code: str, *arguments: str | Path, python: str = sys.executable) -> str:
    """Run code in a new process with an empty cache and return its standard output."""
    command = [python, "-c", code, *(str(argument) for argument in arguments)]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def check(output: str, model: Path, album: Path) -> None:
    """Hold what the process found against the model on torch."""
    found = json.loads(output)
    assert found["torch"] is False
    assert found["whole"] == found["window"] == found["close"] == [40, 50]
    assert len(found["hits"]) == 2
    assert "torch" in found["highres"]
    assert "dinotxt export" in found["other"]
    lite = load("lite", engine="torch")
    for name, encoder, templates in (("top", load(str(model)), None), ("lite", lite, "simple")):
        classify = ZeroShotClassifier(encoder, LABELS, templates=templates)
        expected = dict(classify(album / "0.png").top(3))
        assert list(found[name]) == list(expected)
        assert found[name] == pytest.approx(expected, abs=1e-4)


def test_an_export_classifies_segments_and_searches_without_torch(
    folder: Path, album: Path, tiny_model: Path
) -> None:
    check(run(REFUSE + USE, folder, album), tiny_model, album)


def test_the_verbs_run_without_torch(folder: Path, album: Path, tmp_path: Path) -> None:
    verbs = [
        ["classify", f"{album}/0.png", "--labels", "a dog,snow", "--model", str(folder)],
        ["segment", f"{album}/0.png", "--labels", "a dog,snow", "--model", str(folder),
         "--out", str(tmp_path / "out"), "--mode", "window"],
        ["index", str(album), "--out", str(tmp_path / "a.index"), "--model", str(folder)],
        ["search", str(tmp_path / "a.index"), "a dog"],
        ["classify", f"{album}/0.png", "--labels", "a dog,snow", "--templates", "simple"],
        ["doctor"],
    ]  # fmt: skip
    code = (
        "import json\nfrom typer.testing import CliRunner\nfrom dinotxt.cli.main import app\n"
        "for verb in json.loads(sys.argv[1]):\n"
        "    result = CliRunner().invoke(app, verb)\n"
        "    assert result.exit_code == 0, (verb, result.output, result.exception)\n"
        "    print(verb[0])\n"
    )
    assert run(REFUSE + code, json.dumps(verbs)).split() == [verb[0] for verb in verbs]


@pytest.mark.slow
@pytest.mark.network
def test_an_environment_with_onnx_runtime_alone_is_enough(
    folder: Path, album: Path, tiny_model: Path, tmp_path: Path
) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    packages = ("numpy", "pillow", "tokenizers", "ftfy", "pydantic", "pyyaml", "onnxruntime")
    subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
    assert "torch" not in run("import pkgutil\nprint([m.name for m in pkgutil.iter_modules()])",
                              python=python)  # fmt: skip
    check(run(USE, folder, album, python=python), tiny_model, album)
