"""Drawing an epoch on one core: pairs decided a second, from mapped probabilities."""

import os
import statistics
import tempfile
from pathlib import Path

import numpy as np

from dinotxt.data.order import KEEP_DTYPE, draw
from harness import Figure, at_least, main, seconds

_GOAL = 7_000_000


def measure(quick: bool) -> dict[str, Figure]:
    """Measure the rate of the draw that training and `dinotxt curate draw` use."""
    rows, runs = (2_000_000, 5) if quick else (20_000_000, 9)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    generator = np.random.default_rng(0)
    records = np.empty(rows, dtype=KEEP_DTYPE)
    records["pair_id"] = generator.integers(0, 2**64, rows, dtype=np.uint64)
    records["keep_text"] = generator.random(rows)
    records["keep_image"] = generator.random(rows)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "keep.npy"
        np.save(path, records)
        mapped = np.load(path, mmap_mode="r")
        draw(mapped, seed=0, epoch=0)
        times = [seconds(lambda: draw(mapped, seed=0, epoch=1)) for _ in range(runs)]
    rate = rows / statistics.median(times)
    return {"rate": at_least(rate, goal=_GOAL, unit="pairs/s", runs=runs)}


if __name__ == "__main__":
    main("draw", measure)
