"""The whole training step on pictures: against open_clip's trainer, and the machine's own rates.

``open_clip`` trains the same locked ViT-S/14 with a 12-layer, 768-wide text encoder on the same
JPEGs through open_clip's own transforms, tokenizer, loss and ``train_one_epoch``. ``matmul_share``
is useful floating point operations a second of the step with two blocks, data loading included.
``data_wait`` is the share of a pooled cached step that waits for data. ``loader`` is pictures a
second of our loader with one worker against a bare loop of open, resize and normalise.
"""

import io
import logging
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from cached_training import cache_tokens
from dinotxt.config import load_config
from dinotxt.data.order import EpochSampler
from dinotxt.data.pictures import Transform, TransformConfig
from dinotxt.data.readers import Pair, read_pairs
from dinotxt.text.tokenizer import Tokenizer
from dinotxt.training.config import TrainConfig
from dinotxt.training.cost.ledger import Ledger
from dinotxt.training.feed.batches import Batches
from dinotxt.training.feed.captions import CaptionTable
from dinotxt.training.feed.vision import Pictures
from dinotxt.training.profile import StepProfiler
from dinotxt.training.trainer import Trainer
from harness import Figure, at_least, limit, main, matmul_flops, seconds
from pairs_data import Clock, write_pairs

_VIT = "vit_small_patch14_dinov2"
_LARGE_TEXT = {"kind": "transformer", "width": 768, "layers": 12, "heads": 12}
_SMALL_TEXT = {"kind": "transformer", "width": 384, "layers": 6, "heads": 6}
_SIZE = 224
_LONGEST_WAIT = 0.05
_MATMUL_SHARE = 0.65
_READ_AHEAD = 3  # two batches of a worker wait, a third may be half done
_TAKEN = 4


def measure(quick: bool) -> dict[str, Figure]:
    """Measure the four figures."""
    batch, steps, rounds = (16, 3, 1) if quick else (64, 5, 3)
    logging.getLogger().setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write_pairs(folder / "train.tar", 2 * batch, (640, 480))
        return {
            "open_clip": _against_open_clip(folder, data, batch, steps, rounds),
            "matmul_share": _matmul_share(folder, data, batch, steps),
            "data_wait": _data_wait(folder, data, batch, steps),
            "loader": _loader(data, 3 if quick else 7),
        }


def _against_open_clip(folder: Path, data: Path, batch: int, steps: int, rounds: int) -> Figure:
    peer = _OpenClip(read_pairs(data), batch)
    ours: list[float] = []
    theirs: list[float] = []
    for number in range(rounds):
        config = _config(folder / f"run-{number}", data, batch, steps + 1, _LARGE_TEXT, 0)
        ours += _step_seconds(config)
        theirs += peer.step_seconds(steps + 1)
    fast, slow = statistics.median(ours), statistics.median(theirs)
    return Figure(
        value=batch / fast, peer=batch / slow, ratio=slow / fast, unit="pairs/s", runs=len(ours)
    )


def _matmul_share(folder: Path, data: Path, batch: int, steps: int) -> Figure:
    config = _config(folder / "blocks", data, batch, steps + 1, _SMALL_TEXT, 2)
    lengths = _caption_lengths(data)
    ledger = Ledger.planned(config)
    flops = ledger.step(batch, np.resize(lengths, batch)).total
    before = matmul_flops()
    rate = flops / statistics.median(_step_seconds(config))
    machine = (before + matmul_flops()) / 2
    return at_least(rate / machine, goal=_MATMUL_SHARE, unit="of matmul FLOP/s", runs=steps)


def _data_wait(folder: Path, data: Path, batch: int, steps: int) -> Figure:
    config = _config(folder / "cached", data, batch, 4 * steps + 1, _SMALL_TEXT, 0)
    cache = cache_tokens(config, folder / "pooled.cache", "pooled")
    config = replace(config, data=replace(config.data, cache=cache))
    profiler = StepProfiler(None, 4 * steps)
    with profiler.active():
        Trainer(config, device="cpu").fit()
    share = next(row.share for row in profiler.table() if row.phase == "data wait")
    return limit(max(share, 1e-6), limit=_LONGEST_WAIT, unit="of a step", runs=profiler.steps_done)


def _loader(data: Path, runs: int) -> Figure:
    pairs = read_pairs(data)
    batch = min(32, len(pairs))
    transform = Transform(TransformConfig(size=_SIZE, resize="squash"))
    captions = CaptionTable([pair.captions for pair in pairs], Tokenizer.clip(), seed=0)
    batches = Batches(
        Pictures(pairs, transform),
        captions,
        EpochSampler(len(pairs), batch, 0),
        micro_batch_size=batch,
    )
    stream = batches.steps(0, 10**6, num_workers=1)
    contents = [pair.image.read() for pair in pairs[:batch]]
    mean = np.array(transform.config.mean, dtype=np.float32)
    std = np.array(transform.config.std, dtype=np.float32)
    rates = []
    for _ in range(runs):
        bare = seconds(partial(_bare_loop, contents, mean, std))
        _take(stream, _READ_AHEAD)  # what the worker has made meanwhile would flatter it
        ours = seconds(partial(_take, stream, _TAKEN)) / _TAKEN
        rates.append((batch / ours, batch / bare))
    return Figure(
        value=statistics.median(a for a, _ in rates),
        peer=statistics.median(b for _, b in rates),
        ratio=statistics.median(a / b for a, b in rates),
        unit="pictures/s",
        runs=runs,
    )


def _take(stream: Iterator[Any], count: int) -> None:
    for _ in range(count):
        next(stream)


def _bare_loop(contents: list[bytes], mean: Any, std: Any) -> None:
    """Open, resize and normalise pictures, one after the other."""
    for content in contents:
        picture = Image.open(io.BytesIO(content)).convert("RGB")
        pixels = np.asarray(picture.resize((_SIZE, _SIZE), Image.Resampling.BICUBIC))
        ((pixels.astype(np.float32) / 255 - mean) / std).transpose(2, 0, 1).copy()


class _OpenClip:
    """open_clip's own training loop on the same pictures and captions."""

    def __init__(self, pairs: list[Pair], batch: int) -> None:
        import open_clip
        from open_clip.loss import ClipLoss

        self.batch = batch
        vision = {
            "timm_model_name": _VIT,
            "timm_model_pretrained": False,
            "timm_pool": "",
            "timm_proj": "none",
            "image_size": _SIZE,
        }
        text = {"context_length": 77, "vocab_size": 49408, "width": 768, "heads": 12, "layers": 12}
        self.model = open_clip.CLIP(384, vision, text, output_dict=True)
        self.model.visual.trunk = timm.create_model(_VIT, num_classes=0, img_size=_SIZE)
        self.model.lock_image_tower()
        self.loss = ClipLoss()
        trained = [value for value in self.model.parameters() if value.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.1)
        transform = open_clip.image_transform(_SIZE, is_train=True)
        self.data = _PeerPairs(pairs, transform, open_clip.get_tokenizer("ViT-B-32"))

    def step_seconds(self, steps: int) -> list[float]:
        """Return the times of steps but for the first."""
        from open_clip_train.train import train_one_epoch

        loader = _TimedLoader(self.data, self.batch, steps)
        info = SimpleNamespace(dataloader=loader, set_epoch=lambda epoch: None)
        args = SimpleNamespace(
            device="cpu",
            precision="fp32",
            distill=False,
            accum_freq=1,
            skip_scheduler=True,
            grad_clip_norm=None,
            horovod=False,
            log_every_n_steps=1000,
            batch_size=self.batch,
            world_size=1,
            rank=0,
            local_rank=0,
            distributed=False,
            log_local=False,
            wandb=False,
        )
        train_one_epoch(
            self.model, {"train": info}, self.loss, 0, self.optimizer, None, None, None, args
        )
        return loader.seconds()


class _PeerPairs(Dataset[Any]):
    """Pictures and captions through open_clip's transform and tokenizer."""

    def __init__(self, pairs: list[Pair], transform: Any, tokenizer: Any) -> None:
        self.pairs = pairs
        self.transform = transform
        self.tokenizer = tokenizer

    def __len__(self) -> int:
        return 10**6

    def __getitem__(self, number: int) -> Any:
        pair = self.pairs[number % len(self.pairs)]
        picture = Image.open(io.BytesIO(pair.image.read()))
        caption = pair.captions[number % len(pair.captions)]
        return self.transform(picture), self.tokenizer([caption])[0]


class _TimedLoader:
    """A loader that notes when each batch is asked for."""

    def __init__(self, data: _PeerPairs, batch: int, steps: int) -> None:
        self.loader = DataLoader(data, batch_size=batch, num_workers=1)
        self.num_batches = steps
        self.num_samples = steps * batch
        self.asked: list[float] = []

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self.loader)
        for _ in range(self.num_batches):
            self.asked.append(time.perf_counter())
            yield next(batches)
        self.asked.append(time.perf_counter())

    def seconds(self) -> list[float]:
        """Return the times of the steps but for the first, which warms up."""
        return [after - before for before, after in pairwise(self.asked)][1:]


def _step_seconds(config: TrainConfig) -> list[float]:
    clock = Clock()
    Trainer(config, device="cpu").fit(reporters=[clock])
    return clock.seconds()


def _caption_lengths(data: Path) -> np.ndarray[Any, np.dtype[np.int64]]:
    captions = [caption for pair in read_pairs(data) for caption in pair.captions]
    return Tokenizer.clip()(captions).lengths


def _config(
    output: Path, data: Path, batch: int, steps: int, text: dict[str, Any], num_blocks: int
) -> TrainConfig:
    return load_config(
        TrainConfig,
        {
            "output": output,
            "steps": steps,
            "batch_size": batch,
            "model": {
                "backbone": {"name": _VIT, "weights": "random"},
                "vision_head": {
                    "num_blocks": num_blocks,
                    "pooling": "cls_avg" if num_blocks else "cls",
                },
                "text_encoder": text,
            },
            "data": {
                "train": str(data),
                "size": _SIZE,
                "views": {"scale": [0.9, 1.0]},
                "num_workers": 1,
            },
            "optim": {"warmup_steps": 1},
            "checkpoint": {"every": 1000},
        },
    )


if __name__ == "__main__":
    main("train_step", measure)
