import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

MakeImage = Callable[..., bytes]
MakeTar = Callable[[Path, Mapping[str, Any]], Path]


def _encode(
    width: int = 12, height: int = 8, *, kind: str = "JPEG", mode: str = "RGB", **options: Any
) -> bytes:
    pixels = np.random.default_rng(width * height).integers(0, 256, (height, width, 3))
    stream = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).convert(mode).save(stream, kind, **options)
    return stream.getvalue()


def _write_tar(path: Path, files: Mapping[str, Any]) -> Path:
    """Write members in order; a dict becomes JSON, text UTF-8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            raw = json.dumps(content) if isinstance(content, dict) else content
            data = raw.encode() if isinstance(raw, str) else raw
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def make_image() -> MakeImage:
    """Encode a small noisy picture."""
    return _encode


@pytest.fixture
def make_tar() -> MakeTar:
    """Write a tar from names and contents."""
    return _write_tar
