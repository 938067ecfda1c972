import io
import json
import tarfile
from collections.abc import Callable, Collection
from pathlib import Path

import pytest
from PIL import Image

from dinotxt.training.config import TrainConfig


@pytest.fixture
def config(tiny_run: Path) -> Callable[..., TrainConfig]:
    """Build the configuration of the tiny run, with overrides."""

    def make(*overrides: str) -> TrainConfig:
        return TrainConfig.from_yaml(tiny_run, *overrides)

    return make


@pytest.fixture
def write_shards() -> Callable[..., list[str]]:
    """Write tars of grey pictures that show their number, each with two captions of it."""

    def write(
        folder: Path, *, num_shards: int, num_samples: int, broken: Collection[object] = ()
    ) -> list[str]:
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for shard in range(num_shards):
            path = folder / f"s{shard}.tar"
            with tarfile.open(path, "w") as archive:
                for row in range(num_samples):
                    grey = shard * num_samples + row
                    stream = io.BytesIO()
                    Image.new("RGB", (8, 8), (grey, grey, grey)).save(stream, "PNG")
                    content = b"torn" if (shard, row) in broken else stream.getvalue()
                    captions = {"captions": [f"{grey} a", f"{grey} b"]}
                    add(archive, f"k{row:04d}.png", content)
                    add(archive, f"k{row:04d}.json", json.dumps(captions).encode())
            paths.append(str(path))
        return paths

    def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))

    return write
