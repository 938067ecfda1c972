"""Arrays kept as one file a block of vectors."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dinotxt.cluster.blocks import Block


def block_path(folder: Path, index: int) -> Path:
    """Return the file of a block in a folder."""
    return folder / f"block-{index:05d}.npy"


def read_rows(folder: Path, blocks: Sequence[Block], start: int, stop: int) -> NDArray[np.int32]:
    """Return values ``start`` to ``stop`` of an array kept as one file a block."""
    parts = []
    for block in blocks:
        low, high = max(start, block.start), min(stop, block.start + len(block))
        if low < high:
            stored = np.load(block_path(folder, block.index), mmap_mode="r")
            parts.append(stored[low - block.start : high - block.start])
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int32)
