"""Training on cached tokens against the same step with the frozen backbone in it, reading tars."""

import statistics
import tempfile
from pathlib import Path

from dinotxt.config import load_config
from dinotxt.data.pictures import Transform
from dinotxt.data.readers import read_pairs
from dinotxt.inference.caching import FeatureCacher, Kind
from dinotxt.models.vision import Backbone
from dinotxt.training.config import TrainConfig
from dinotxt.training.setup import transform_config
from dinotxt.training.trainer import Trainer
from harness import Figure, main
from pairs_data import Clock, write_pairs

_BACKBONE = {"name": "vit_small_patch14_dinov2", "weights": "random"}


def measure(quick: bool) -> dict[str, Figure]:
    """Measure pooled tokens without blocks, and all tokens with two blocks."""
    pooled, blocks = (32, 16) if quick else (512, 128)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write_pairs(folder / "train.tar", pooled)
        return {
            "pooled": _compare(folder, data, "pooled", num_blocks=0, batch_size=pooled),
            "blocks": _compare(folder, data, "all", num_blocks=2, batch_size=blocks),
        }


def _compare(folder: Path, data: Path, kind: Kind, *, num_blocks: int, batch_size: int) -> Figure:
    plain = _config(folder / f"plain-{kind}", data, num_blocks, batch_size, steps=4)
    cache = cache_tokens(plain, folder / f"{kind}.cache", kind)
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
    return load_config(
        TrainConfig,
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
        },
    )


def cache_tokens(config: TrainConfig, path: Path, kind: Kind) -> Path:
    """Cache the tokens of a run's training pictures and return the folder."""
    backbone = Backbone.from_config(config.model.backbone)
    transform = Transform(transform_config(config.data, backbone))
    FeatureCacher(
        backbone, transform, read_pairs(config.data.sources[0].path), path, tokens=kind
    ).run()
    return path


if __name__ == "__main__":
    main("cached_training", measure)
