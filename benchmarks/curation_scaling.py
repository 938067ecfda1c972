"""The cost of curation against the size of the pool, and the rates that `dinotxt plan` uses.

Captions from 10^5 to 10^7, vectors from 10^5 to 10^6: ``*_growth`` is the cost a record at the
largest size over that at the smallest, 1 where cost is linear; its limit is 1.25.
"""

import tempfile
from pathlib import Path

import numpy as np

from curation_data import make_captions, make_entries, make_vectors
from dinotxt.cluster import blocks_of
from dinotxt.cluster.assignment import block_sums
from dinotxt.curation.balancing import entry_probabilities, keep_probabilities
from dinotxt.curation.matching import Matcher, open_matcher
from harness import Figure, at_least, limit, main, seconds

_ENTRIES, _WIDTH, _CENTROIDS = 500_000, 384, 1000
_BATCH = 100_000
_GROWTH = 1.25


def measure(quick: bool) -> dict[str, Figure]:
    """Measure rates and growth; quick stops at a tenth of the sizes."""
    import torch

    torch.set_num_threads(1)
    captions = (100_000, 200_000) if quick else (100_000, 1_000_000, 10_000_000)
    vectors = (20_000, 60_000) if quick else (100_000, 300_000, 1_000_000)
    figures = _text(captions)
    figures.update(_vectors(vectors))
    return figures


def _text(sizes: tuple[int, ...]) -> dict[str, Figure]:
    matcher = open_matcher(make_entries(_ENTRIES))
    texts = make_captions(_BATCH)
    matcher.match(texts[:1000])
    costs = []
    for size in sizes:
        time = seconds(lambda size=size: _match(matcher, texts, size))  # type: ignore[misc]
        costs.append(time / size)
    matches = matcher.match(texts)
    probabilities = entry_probabilities(matches.counts(_ENTRIES), 1000)
    balance = min(seconds(lambda: keep_probabilities(matches, probabilities)) for _ in range(3))
    return {
        "match_rate": at_least(1 / costs[-1], goal=100_000, unit="captions/s"),
        "match_growth": limit(costs[-1] / costs[0], limit=_GROWTH, unit="cost a caption"),
        "balance_rate": at_least(len(texts) / balance, goal=1_000_000, unit="captions/s"),
    }


def _match(matcher: Matcher, texts: list[str], size: int) -> None:
    counts = np.zeros(_ENTRIES, dtype=np.uint64)
    for start in range(0, size, _BATCH):
        matches = matcher.match(texts[: min(_BATCH, size - start)])
        counts += matches.counts(_ENTRIES)


def _vectors(sizes: tuple[int, ...]) -> dict[str, Figure]:
    costs = []
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "vectors.npy"
        make_vectors(path, sizes[-1], _WIDTH)
        stored = np.load(path, mmap_mode="c")
        centroids = np.array(stored[:_CENTROIDS], dtype=np.float32)
        for size in sizes:
            blocks = blocks_of([stored[:size]])
            block_sums(blocks[0], centroids=centroids)
            time = seconds(
                lambda blocks=blocks: [block_sums(block, centroids=centroids) for block in blocks]  # type: ignore[misc]
            )
            costs.append(time / size)
    gflops = 2 * _WIDTH * _CENTROIDS / costs[-1] / 1e9
    return {
        "kmeans_gflops": at_least(gflops, goal=30, unit="GFLOP/s"),
        "kmeans_growth": limit(costs[-1] / costs[0], limit=_GROWTH, unit="cost a vector"),
    }


if __name__ == "__main__":
    main("curation_scaling", measure)
