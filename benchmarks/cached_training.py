"""Training on cached tokens against the same step with the frozen backbone in it, reading tars."""

import io
import json
import statistics
import tarfile
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from dinotxt.data.pairs import read_pairs
from dinotxt.data.transform import Transform
from dinotxt.inference.caching import FeatureCacher, Kind
from dinotxt.models.backbone import Backbone
from dinotxt.training.config import TrainConfig
from dinotxt.training.log import StepRecord
from dinotxt.training.setup import transform_config
from dinotxt.training.trainer import Trainer
from harness import Figure, main

_BACKBONE = {"name": "vit_small_patch14_dinov2", "weights": "random"}
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


def measure(quick: bool) -> dict[str, Figure]:
    """Measure pooled tokens without blocks, and all tokens with two blocks."""
    pooled, blocks = (32, 16) if quick else (512, 128)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = _write_tar(folder / "train.tar", pooled)
        return {
            "pooled": _compare(folder, data, "pooled", num_blocks=0, batch_size=pooled),
            "blocks": _compare(folder, data, "all", num_blocks=2, batch_size=blocks),
        }


def _compare(folder: Path, data: Path, kind: Kind, *, num_blocks: int, batch_size: int) -> Figure:
    plain = _config(folder / f"plain-{kind}", data, num_blocks, batch_size, steps=4)
    cache = _cache(plain, folder / f"{kind}.cache", kind)
    cached = _config(folder / f"cached-{kind}", data, num_blocks, batch_size, steps=7, cache=cache)
    ours, peer = _seconds(cached), _seconds(plain)
    fast, slow = statistics.median(ours), statistics.median(peer)
    return Figure(
        value=batch_size / fast,
        peer=batch_size / slow,
        ratio=slow / fast,
        unit="pairs/s",
        runs=min(len(ours), len(peer)),
    )


def _seconds(config: TrainConfig) -> list[float]:
    clock = Clock()
    Trainer(config, device="cpu").fit(reporters=[clock])
    return clock.seconds()


def _config(
    output: Path,
    data: Path,
    num_blocks: int,
    batch_size: int,
    *,
    steps: int,
    cache: Path | None = None,
) -> TrainConfig:
    return TrainConfig.model_validate(
        {
            "output": output,
            "steps": steps,
            "batch_size": batch_size,
            "model": {
                "backbone": _BACKBONE,
                "vision_head": {"num_blocks": num_blocks, "drop_path": 0.0},
                "text_encoder": {"kind": "transformer", "width": 384, "layers": 6, "heads": 6},
            },
            "data": {"train": str(data), "cache": cache, "num_workers": 1},
            "optim": {"warmup_steps": 1},
            "checkpoint": {"every": 1000},
        }
    )


def _cache(config: TrainConfig, path: Path, kind: Kind) -> Path:
    backbone = Backbone.from_config(config.model.backbone)
    transform = Transform(transform_config(config.data, backbone))
    FeatureCacher(backbone, transform, read_pairs(config.data.train), path, tokens=kind).run()
    return path


def _write_tar(path: Path, count: int) -> Path:
    """Write pictures of 500x375 and captions of about 12 words."""
    generator = np.random.default_rng(0)
    with tarfile.open(path, "w") as tar:
        for number in range(count):
            coarse = generator.integers(0, 256, (12, 16, 3), dtype=np.uint8)
            stream = io.BytesIO()
            picture = Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC)
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


if __name__ == "__main__":
    main("cached_training", measure)
