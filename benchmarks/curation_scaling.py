"""The cost of curation against the size of the pool, and the rates that `dinotxt plan` uses.

Captions from 10^5 to 10^7, vectors from 10^5 to 10^6: ``*_growth`` is the cost a record at the
largest size over that at the smallest, 1 where cost is linear; its limit is 1.25. The captions go
through the stages themselves, files included. Cost is processor time, all threads together, so that
other work on the machine changes little. A rate is that of one core; its goal is what the plan
counts with.
"""

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from curation_data import make_metadata, make_pool, make_tar, make_vectors
from dinotxt.cluster import blocks_of
from dinotxt.cluster.assignment import block_sums
from dinotxt.curation.config import CurationConfig, DrawConfig, TextConfig
from dinotxt.curation.engine import InProcess
from dinotxt.curation.keep import draw_epoch, join_probabilities
from dinotxt.curation.plan import Rates
from dinotxt.curation.pool.pairs import collect_pairs
from dinotxt.curation.pool.repeated_ids import drop_duplicates
from dinotxt.curation.stage import read_report
from dinotxt.curation.text.balance import balance_captions
from dinotxt.curation.text.match import match_captions
from harness import Figure, at_least, limit, main

_ENTRIES, _WIDTH, _CENTROIDS = 500_000, 384, 1000
_GROWTH = 1.25
_SMALL_PASSES = 5  # of the smallest pool, whose shortest stage takes 20 ms
_STAGES = {"match": ["match"], "balance": ["balance"], "draw": ["keep", "draw"]}  # of each rate
_ENGINE = InProcess()


def measure(quick: bool) -> dict[str, Figure]:
    """Measure rates and growth; quick stops at a fiftieth of the sizes."""
    import torch

    torch.set_num_threads(1)
    captions = (50_000, 200_000) if quick else (100_000, 1_000_000, 10_000_000)
    vectors = (20_000, 60_000) if quick else (100_000, 300_000, 1_000_000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = {"read_rate": _read(folder, 5_000 if quick else 20_000)}
        figures.update(_text(folder / "text", captions))
        figures.update(_vectors(folder / "vectors.npy", vectors))
    return figures


def _core_seconds(call: Callable[[], object]) -> float:
    """Return the processor time that one call takes."""
    start = time.process_time()
    call()
    return time.process_time() - start


def _read(folder: Path, size: int) -> Figure:
    make_tar(folder / "pool.tar", size)
    config = CurationConfig(input=str(folder / "pool.tar"), output=folder / "read")
    cost = _core_seconds(lambda: collect_pairs(config, _ENGINE))
    return at_least(size / cost, goal=Rates().read, unit="pairs/s")


def _text(root: Path, sizes: tuple[int, ...]) -> dict[str, Figure]:
    """Run the stages of the captions on pools of several sizes."""
    make_metadata(root, _ENTRIES)
    _stages(root, 1000)  # builds the matcher, which a worker does once
    passes = (_SMALL_PASSES, *(1 for _ in sizes[1:]))
    costs = [_costs(root, size, number) for size, number in zip(sizes, passes, strict=True)]
    figures = {
        f"{name}_growth": limit(costs[-1][name] / costs[0][name], limit=_GROWTH, unit="cost a pair")
        for name in costs[0]
    }
    for rate, names in _STAGES.items():
        cost = sum(costs[-1][name] for name in names)
        figures[f"{rate}_rate"] = at_least(1 / cost, goal=getattr(Rates(), rate), unit="pairs/s")
    return figures


def _costs(root: Path, size: int, passes: int) -> dict[str, float]:
    """Return the cost a pair of each stage, the median of some passes."""
    measured = [_stages(root, size) for _ in range(passes)]
    return {name: median(one[name] for one in measured) / size for name in measured[0]}


def _stages(root: Path, size: int) -> dict[str, float]:
    """Return the seconds of each stage on a new pool."""
    for name in ("pairs", "match", "balance", "keep", "draws"):
        shutil.rmtree(root / name, ignore_errors=True)
    make_pool(root, size)
    config = CurationConfig(
        input="pool", output=root, text=TextConfig(threshold=1000), draw=DrawConfig(mode="text")
    )
    names = [Path(file).stem for file in read_report(root, "pairs").files]
    calls: dict[str, Callable[[], object]] = {
        "duplicates": lambda: drop_duplicates(root / "pairs", names, size, _ENGINE),
        "match": lambda: match_captions(config, _ENGINE),
        "balance": lambda: balance_captions(config, _ENGINE),
        "keep": lambda: join_probabilities(config, _ENGINE),
        "draw": lambda: draw_epoch(config, _ENGINE),
    }
    return {name: _core_seconds(call) for name, call in calls.items()}


def _vectors(path: Path, sizes: tuple[int, ...]) -> dict[str, Figure]:
    make_vectors(path, sizes[-1], _WIDTH)
    stored = np.load(path, mmap_mode="c")
    centroids = np.array(stored[:_CENTROIDS], dtype=np.float32)
    costs = []
    for size in sizes:
        blocks = blocks_of([stored[:size]])
        block_sums(blocks[0], centroids=centroids)
        cost = _core_seconds(
            lambda blocks=blocks: [block_sums(block, centroids=centroids) for block in blocks]  # type: ignore[misc]
        )
        costs.append(cost / size)
    gflops = 2 * _WIDTH * _CENTROIDS / costs[-1] / 1e9
    return {
        "kmeans_gflops": at_least(gflops, goal=Rates().gflops, unit="GFLOP/s"),
        "kmeans_growth": limit(costs[-1] / costs[0], limit=_GROWTH, unit="cost a vector"),
    }


if __name__ == "__main__":
    main("curation_scaling", measure)
