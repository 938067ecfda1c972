"""Pairs for benchmarks of training: JPEGs of one size with captions of Flickr8k's lengths."""

import io
import json
import tarfile
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from dinotxt.training.record.log import StepRecord

_WORDS = ("a", "dog", "runs", "over", "green", "grass", "with", "two", "children", "in", "coats")


class Clock:
    """Notes when each step ends."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def started(self, step: int, steps: int, batch_size: int) -> None:
        """Nothing to note."""

    def stepped(self, records: Sequence[StepRecord]) -> None:
        """Note the time."""
        self.ends += [time.perf_counter()] * len(records)

    def evaluated(self, step: int, metrics: Mapping[str, float]) -> None:
        """Nothing to note."""

    def closed(self) -> None:
        """Nothing to note."""

    def seconds(self) -> list[float]:
        """Return the steps' times without the first, which warms up."""
        return [after - before for before, after in pairwise(self.ends)]


def write_pairs(path: Path, count: int, size: tuple[int, int] = (500, 375)) -> Path:
    """Write a tar of pictures of a size (width, height), each with five captions of ~11 words."""
    generator = np.random.default_rng(0)
    with tarfile.open(path, "w") as tar:
        for number in range(count):
            coarse = generator.integers(0, 256, (12, 16, 3), dtype=np.uint8)
            stream = io.BytesIO()
            picture = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
            picture.save(stream, "JPEG", quality=88)
            length = min(max(int(generator.normal(11, 3)), 4), 25)
            captions = [" ".join(generator.choice(_WORDS, length)) for _ in range(5)]
            _add(tar, f"{number:06d}.jpg", stream.getvalue())
            _add(tar, f"{number:06d}.json", json.dumps({"captions": captions}).encode())
    return path


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
