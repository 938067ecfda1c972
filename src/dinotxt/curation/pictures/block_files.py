"""Arrays kept as one file a block of vectors, and which clusters of them to read together."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dinotxt.cluster.blocks import Block


def block_path(folder: Path, index: int) -> Path:
    """Return the file of a block in a folder."""
    return folder / f"block-{index:05d}.npy"


def read_rows(folder: Path, blocks: Sequence[Block], rows: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return the values at some rows (ascending) of an array kept as one file a block."""
    parts = []
    for block in blocks:
        low, high = np.searchsorted(rows, (block.start, block.start + len(block)))
        if low < high:
            stored = np.load(block_path(folder, block.index), mmap_mode="r")
            parts.append(stored[rows[low:high] - block.start])
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int32)


def neighbours(sizes: NDArray[np.int64], rows: int) -> list[tuple[int, int]]:
    """Group neighbouring clusters, given their sizes, so that a group holds about ``rows`` rows.

    Returns:
        The first cluster of each group and the one after its last.
    """
    groups, first, held = [], 0, 0
    for cluster, size in enumerate(sizes):
        if held and held + size > rows:
            groups.append((first, cluster))
            first, held = cluster, 0
        held += int(size)
    groups.append((first, len(sizes)))
    return groups
