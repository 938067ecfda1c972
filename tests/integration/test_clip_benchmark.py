"""CLIP_benchmark, the real package, runs our model on its own data layout."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dinotxt
from dinotxt.evaluation.clip_benchmark import (
    OpenClipTokenizer,
    _with_defaults,
    load_for_benchmark,
    main,
    topk_shares,
)

benchmark = pytest.importorskip("clip_benchmark")
pytestmark = pytest.mark.filterwarnings("ignore")  # CLIP_benchmark's and its dependencies' own


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (36, 44, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """Six pictures of three classes, as ``clip_benchmark_export_wds`` writes them."""
    root = tmp_path / "wds"
    (root / "test").mkdir(parents=True)
    (root / "test" / "nshards.txt").write_text("1")
    (root / "classnames.txt").write_text("cat\ndog\nred panda\n")
    (root / "zeroshot_classification_templates.txt").write_text("a photo of a {c}.\na {c}.\n")
    with tarfile.open(root / "test" / "0.tar", "w") as tar:
        for number in range(6):
            _add(tar, f"s{number:07d}.cls", str(number % 3).encode())
            _add(tar, f"s{number:07d}.png", _png(number))
    return root


def _hashes(folder: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.py")
    }


def test_the_real_benchmark_agrees_with_our_own_evaluation(
    layout: Path, tiny_model: Path, tmp_path: Path
) -> None:
    package = Path(str(benchmark.__file__)).parent
    before = _hashes(package)
    out = tmp_path / "result.json"
    arguments = ["eval", "--dataset", "wds/tiny", "--dataset_root", str(layout), "--no_amp"]
    arguments += ["--task", "zeroshot_classification", "--model", str(tiny_model)]
    main([*arguments, "--num_workers", "0", "--batch_size", "4", "--output", str(out)])
    theirs = json.loads(out.read_text())
    ours = dinotxt.evaluate(dinotxt.load(tiny_model), task="classification", data=layout)
    assert theirs["metrics"]["acc1"] == pytest.approx(ours.metrics["top1"])
    assert theirs["pretrained"] == "dinotxt"
    assert _hashes(package) == before


def test_features_equal_those_of_the_encoder(tiny_model: Path) -> None:
    model, transform, tokenizer = load_for_benchmark(str(tiny_model), "any", device="cpu")
    encoder = dinotxt.load(tiny_model)
    texts = ["a", "a much longer text than that"]
    features = model.encode_text(tokenizer(texts)).numpy()
    np.testing.assert_allclose(features, encoder.encode_text(texts, normalize=False), atol=1e-5)
    image = Image.open(io.BytesIO(_png(1)))
    features = model.encode_image(transform(image)[None]).numpy()
    np.testing.assert_allclose(features, encoder.encode_image(image, normalize=False), atol=1e-5)


def test_accuracy_is_the_share_of_rows_with_the_target_among_the_first() -> None:
    scores = torch.tensor([[3.0, 2, 1], [3, 2, 1], [1, 2, 3]])
    assert topk_shares(scores, torch.tensor([0, 1, 0]), (1, 2, 3)) == pytest.approx(
        [1 / 3, 2 / 3, 1]
    )


def test_one_text_is_a_batch_of_one(tiny_model: Path) -> None:
    tokenizer = OpenClipTokenizer(dinotxt.load(tiny_model).tokenizer)
    assert tokenizer("a dog").shape == (1, 78)
    assert tokenizer("a dog")[0, 0] == 4


def test_our_loader_is_the_default_and_a_choice_stands() -> None:
    assert _with_defaults(["eval", "--model", "m"])[3:] == [
        "--model_type",
        "dinotxt",
        "--pretrained",
        "dinotxt",
    ]
    chosen = ["eval", "--model_type", "open_clip"]
    assert _with_defaults(chosen) == chosen
    assert _with_defaults(["build", "a.json"]) == ["build", "a.json"]
