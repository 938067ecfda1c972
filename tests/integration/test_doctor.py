"""``dinotxt doctor PATH``: whole folders pass, one flipped bit in any file that counts is named."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

RunVerb = Callable[..., tuple[int, dict[str, Any], str]]


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.fixture
def album(tmp_path: Path) -> Path:
    folder = tmp_path / "album"
    folder.mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 24, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def test_a_model_folder_is_checked_and_a_flipped_bit_is_named(
    tiny_model: Path, tmp_path: Path, run: RunVerb
) -> None:
    code, result, shown = run("doctor", tiny_model)
    assert (code, result["damaged"]) == (0, []), shown
    assert result["checked"] == 2
    copy = tmp_path / "copy"
    shutil.copytree(tiny_model, copy)
    (weights,) = copy.rglob("*.safetensors")
    flip(weights)
    code, result, _ = run("doctor", copy)
    assert code == 1
    assert weights.name in result["damaged"][0]["reason"]


def test_an_index_is_checked_and_a_flipped_bit_is_named(
    album: Path, tiny_model: Path, tmp_path: Path, run: RunVerb
) -> None:
    out = tmp_path / "album.index"
    assert run("index", album, "--out", out, "--model", tiny_model)[0] == 0
    code, result, shown = run("doctor", out)
    assert (code, result["damaged"]) == (0, []), shown
    assert result["checked"] > 0
    (vectors, *_) = sorted(out.rglob("*.npy"))
    flip(vectors)
    code, result, _ = run("doctor", out)
    assert code == 1
    assert vectors.name in result["damaged"][0]["path"]


def test_what_is_not_ours_is_refused(album: Path, tmp_path: Path, run: RunVerb) -> None:
    for path in (album, tmp_path / "missing"):
        code, _, shown = run("doctor", path)
        assert code == 1
        assert "is no index, cache, run, model or export" in shown
