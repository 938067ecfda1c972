"""Hierarchical k-means over 1,000,000 x 384 vectors on two workers: time and anonymous memory."""

import tempfile
import threading
from pathlib import Path

from curation_data import make_vectors
from dinotxt.cluster import blocks_of
from dinotxt.curation.config import ImageConfig
from dinotxt.curation.engine import LocalPool
from dinotxt.curation.pictures.cluster import build_levels
from harness import Figure, limit, main, seconds

_WIDTH = 384
_SECONDS, _MIB = 8 * 60, 1024


def measure(quick: bool) -> dict[str, Figure]:
    """Measure three levels, of which the first is split in two steps; quick takes 6%."""
    rows, levels = (60_000, (9_000, 900, 90)) if quick else (1_000_000, (20_000, 2_000, 200))
    settings = ImageConfig(levels=levels)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_vectors(folder / "vectors.npy", rows, _WIDTH)
        watch = _Watch()
        pool = LocalPool(2)
        try:
            blocks = blocks_of([folder / "vectors.npy"])
            with watch:
                time = seconds(lambda: build_levels(folder, blocks, settings, seed=0, engine=pool))
        finally:
            pool.close()
    return {
        "time": limit(time, limit=_SECONDS * rows / 1_000_000, unit="s"),
        "memory": limit(watch.peak - watch.start, limit=_MIB, unit="MiB"),
    }


class _Watch:
    """The peak of the anonymous memory of this process and its children, in MiB."""

    def __init__(self) -> None:
        self.start = self.peak = _anonymous(Path("/proc/self"))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            self.peak = max(self.peak, _tree(Path("/proc/self")))


def _tree(process: Path) -> float:
    total = _anonymous(process)
    for children in process.glob("task/*/children"):
        try:
            total += sum(_tree(Path("/proc") / child) for child in children.read_text().split())
        except OSError:  # a thread or a child that has just ended
            continue
    return total


def _anonymous(process: Path) -> float:
    try:
        status = (process / "status").read_text()
    except OSError:
        return 0.0
    lines = [line for line in status.splitlines() if line.startswith("RssAnon")]
    return int(lines[0].split()[1]) / 1024 if lines else 0.0


if __name__ == "__main__":
    main("hierarchy", measure)
