"""Two processes that train one model against two that know nothing of each other."""

import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

import torch
import torch.distributed as dist

from dinotxt.config import load_config
from dinotxt.models.dinotxt import DinoTxt
from dinotxt.models.vision import Tokens
from dinotxt.training.config import TrainConfig
from dinotxt.training.distributed.world import joined
from dinotxt.training.feed.batches import Batch
from dinotxt.training.update.learner import Learner
from harness import Figure, main

_PATCHES, _GRID = 256, (16, 16)
_WIDTH = 384
_TOKENS = 14  # of a Flickr8k caption
_CPU = torch.device("cpu")


def measure(quick: bool) -> dict[str, Figure]:
    """Measure pairs a second, each process pinned to a core and held to one thread."""
    batch, steps, runs = (16, 3, 1) if quick else (32, 8, 5)
    rates = [_round(batch, steps) for _ in range(runs)]
    joint, apart, alone = (statistics.median(column) for column in zip(*rates, strict=True))
    return {
        "two_processes": _figure(joint, apart, [a / b for a, b, _ in rates]),
        "speedup": _figure(joint, alone, [a / c for a, _, c in rates]),
    }


def _figure(value: float, peer: float, ratios: list[float]) -> Figure:
    ratio = statistics.median(ratios)
    return Figure(value=value, peer=peer, ratio=ratio, unit="pairs/s", runs=len(ratios))


def _round(batch: int, steps: int) -> tuple[float, float, float]:
    """Return the rates of two together, of two apart at the same time, and of one."""
    return (
        _rate(2, batch, steps, together=True),
        _rate(2, batch, steps, together=False),
        _rate(1, batch, steps, together=False),
    )


def _rate(count: int, batch: int, steps: int, *, together: bool) -> float:
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        store = f"file://{Path(folder) / 'store'}" if together else ""
        start, results = context.Barrier(count), context.Queue()
        children = [
            context.Process(target=_work, args=(rank, store, batch, steps, start, results.put))
            for rank in range(count)
        ]
        for child in children:
            child.start()
        rates = [results.get() for _ in children]
        for child in children:
            child.join()
    return float(sum(rates))


def _work(
    rank: int,
    store: str,
    batch: int,
    steps: int,
    start: Barrier,
    report: Callable[[float], None],
) -> None:
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[rank]})
    torch.set_num_threads(1)
    if store:
        dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    with joined(_CPU) as world:
        config = _config(batch * world.size)
        torch.manual_seed(0)
        learner = Learner(DinoTxt.from_config(config.model), config, world=world)
        part = _batch(batch, rank)
        for step in range(2):  # DDP and the allocator settle
            learner.update(step, [part])
        start.wait()
        begin = time.perf_counter()
        for step in range(2, steps + 2):
            learner.update(step, [part])
        report(batch * steps / (time.perf_counter() - begin))
    if store:
        dist.destroy_process_group()


def _config(batch_size: int) -> TrainConfig:
    return load_config(
        TrainConfig,
        {
            "output": "unused",
            "steps": 100,
            "batch_size": batch_size,
            "model": {
                "backbone": {
                    "name": "vit_tiny_patch16_224",
                    "weights": "random",
                    "options": {"embed_dim": _WIDTH, "depth": 1, "num_heads": 6},
                },
                "vision_head": {"num_blocks": 2},
                "text_encoder": {"kind": "transformer", "width": 384, "layers": 6, "heads": 6},
            },
            "data": {"train": "unused"},
        },
    )


def _batch(size: int, seed: int) -> Batch:
    torch.manual_seed(seed)
    patches = torch.randn(size, _PATCHES, _WIDTH)
    tokens = Tokens(patches.mean(1), patches[:, :0], patches, _GRID)
    ids = torch.randint(1, 49_000, (size, _TOKENS))
    return Batch(tokens, ids, torch.full((size,), _TOKENS))


if __name__ == "__main__":
    main("scaling", measure)
