"""A small pool of generated pictures and captions in tars."""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

WORDS = ["dog", "cat", "red car", "boat", "tree", "bird"]


def add_file(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def picture(seed: int, side: int = 24) -> bytes:
    generator = np.random.default_rng(seed)
    small = generator.integers(0, 255, (3, 3, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(small).resize((side, side)).save(stream, "PNG")
    return stream.getvalue()


def write_shard(path: Path, records: Mapping[str, tuple[bytes, Sequence[str]]]) -> None:
    with tarfile.open(path, "w") as tar:
        for key, (image, captions) in records.items():
            add_file(tar, f"{key}.png", image)
            add_file(tar, f"{key}.json", json.dumps({"captions": list(captions)}).encode())


def shard_records(shard: int, size: int = 12) -> dict[str, tuple[bytes, list[str]]]:
    records = {}
    for number in range(size):
        seed = 100 * shard + number
        word = WORDS[min(int(np.random.default_rng(seed).exponential(1.2)), len(WORDS) - 1)]
        captions = [f"a {word} in picture {seed}", f"the {word}, again"]
        records[f"{shard:02d}{number:04d}"] = (picture(seed), captions)
    return records


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """Write three tars of 12 pictures with two captions each."""
    folder = tmp_path / "pool"
    folder.mkdir()
    for shard in range(3):
        write_shard(folder / f"{shard:05d}.tar", shard_records(shard))
    return folder
