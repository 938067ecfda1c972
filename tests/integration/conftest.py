import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.integration.verbs import call

WORDS = ["dog", "cat", "red car", "boat", "tree", "bird"]
TINY = {
    "name": "vit_tiny_patch16_224",
    "weights": "random",
    "options": {"embed_dim": 16, "depth": 1, "num_heads": 2, "img_size": 32},
}


def _shard(path: Path, shard: int, size: int) -> None:
    generator = np.random.default_rng(shard)
    with tarfile.open(path, "w") as tar:
        for number in range(size):
            word = WORDS[min(int(generator.exponential(1.2)), len(WORDS) - 1)]
            small = generator.integers(0, 255, (3, 3, 3), dtype=np.uint8)
            stream = io.BytesIO()
            Image.fromarray(small).resize((24, 24)).save(stream, "PNG")
            captions = [f"a {word} in picture {number}", f"xyzzy{number}"]
            for suffix, content in (
                ("png", stream.getvalue()),
                ("json", json.dumps({"captions": captions}).encode()),
            ):
                info = tarfile.TarInfo(f"{shard:02d}{number:04d}.{suffix}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    """Sixty pairs in three tars, and how to curate them in seconds."""
    for shard in range(3):
        _shard(tmp_path / f"{shard:05d}.tar", shard, 20)
    return {
        "input": str(tmp_path / "*.tar"),
        "output": str(tmp_path / "out"),
        "workers": 1,
        "metadata": {"sources": ["wordnet"]},
        "text": {"threshold": 6},
        "image": {
            "backbone": TINY, "size": 32, "levels": [8, 3], "resamplings": 2, "points": 2,
            "target": 0.5,
        },
    }  # fmt: skip


@pytest.fixture(scope="session")
def run() -> Callable[..., tuple[int, dict[str, Any], str]]:
    """A verb with ``--json -``; returns the exit code, the JSON and standard error."""

    def run_verb(*arguments: object) -> tuple[int, dict[str, Any], str]:
        result = call(*arguments, "--json", "-")
        return result.exit_code, json.loads(result.stdout or "{}"), result.stderr

    return run_verb
