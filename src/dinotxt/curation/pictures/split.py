"""A level too large for one k-means: coarse cells first, then clusters within each cell.

k clusters over n points cost n * k; sqrt(k) cells and sqrt(k) clusters in each cost
2 * n * sqrt(k). Vo et al. 2024 do the same for their first level. No task holds more than
8,192 centroids: a cell whose share would be larger leaves the rest to other cells.
"""

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dinotxt.cluster import Block, Vectors, blocks_of, kmeans, nearest, width_of
from dinotxt.curation.engine import Engine
from dinotxt.curation.pictures.level import LevelPlan, most_centroids, num_cells, run_kmeans
from dinotxt.curation.pool import block_path, neighbours, save_array, save_parts
from dinotxt.errors import ConfigError, DataError

_GROUP_BYTES = 64 << 20  # vectors of the cells that one task clusters
_CELL_BYTES = 512 << 20  # of one cell; a larger one is clustered on a sample


def split_level(plan: LevelPlan, engine: Engine) -> None:
    """Cluster a level of more than 8,192 clusters and label all of its points.

    Raises:
        ConfigError: If the cells alone are more than a task may hold.
        DataError: If too many points lie in too few cells.
    """
    most = most_centroids(width_of(plan.blocks))
    cells_wanted = num_cells(plan.k, width_of(plan.blocks))
    if cells_wanted > most:
        limit = most**2 // 2
        raise ConfigError(f"A level of {plan.k} clusters is too large: {limit} is the most.")
    coarse = run_kmeans(plan, plan.blocks, cells_wanted, 0, engine)
    order = partial(_order_block, centroids=coarse, plan=plan)
    counts = np.stack(list(engine.map(order, plan.blocks)), axis=1)
    cells = _Cells(plan, counts, _allocate(counts.sum(1), plan.k, most))
    for _ in engine.map(cells.cluster_group, range(len(cells.groups))):
        pass
    for _ in engine.map(cells.write_labels, plan.blocks):
        pass
    cells.join_centroids()


class _Cells:
    """The cells of a split: their points by block, their clusters, their groups.

    Args:
        plan: The level.
        counts: ``[cells, blocks]``, points of each cell in each block.
        shares: ``[cells]``, clusters of each cell.
    """

    def __init__(
        self, plan: LevelPlan, counts: NDArray[np.int64], shares: NDArray[np.int64]
    ) -> None:
        self._plan = plan
        self._counts = counts
        self._sizes = counts.sum(1)
        self._shares = shares
        self._starts = np.cumsum(counts, axis=0) - counts  # in the order of a block
        self._before = np.cumsum(counts, axis=1) - counts  # in a cell, of earlier blocks
        self._bases = np.concatenate([[0], np.cumsum(shares)])
        row_bytes = width_of(plan.blocks) * plan.blocks[0].parts[0].open().dtype.itemsize
        self._cell_rows = max(_CELL_BYTES // row_bytes, 1)
        self.groups = neighbours(self._sizes, _GROUP_BYTES // row_bytes)

    def cluster_group(self, group: int) -> None:
        """Cluster the cells of a group; write their centroids, and labels cell by cell."""
        labels_path, centroids_path = self._paths(group)
        if centroids_path.exists():
            return
        labels, centroids = [], []
        for cell in range(*self.groups[group]):
            if self._shares[cell]:
                found = self._cluster_cell(cell)
                centroids.append(found)
                labels.append(self._label_cell(cell, found))
        save_array(labels_path, np.concatenate(labels))
        save_array(centroids_path, np.concatenate(centroids))

    def write_labels(self, block: Block) -> None:
        """Write the labels of a block from those of the cells."""
        order = np.load(block_path(self._plan.work / "order", block.index), mmap_mode="r")
        labels = np.empty(len(block), dtype=np.int32)
        for group, (first, last) in enumerate(self.groups):
            stored = np.load(self._paths(group)[0], mmap_mode="r")
            at = 0
            for cell in range(first, last):
                size = int(self._counts[cell, block.index])
                before = at + int(self._before[cell, block.index])
                start = int(self._starts[cell, block.index])
                rows = order[start : start + size]
                labels[rows] = stored[before : before + size] + self._bases[cell]
                at += int(self._sizes[cell])
        save_array(block_path(self._plan.folder / "labels", block.index), labels)

    def join_centroids(self) -> None:
        """Write the centroids of all cells in one file."""
        paths = [self._paths(group)[1] for group in range(len(self.groups))]
        shape = (self._plan.k, width_of(self._plan.blocks))
        save_parts(self._plan.folder / "centroids.npy", map(np.load, paths), shape)

    def _cluster_cell(self, cell: int) -> NDArray[np.float32]:
        size = int(self._sizes[cell])
        seed = (*self._plan.seed, 1, cell)
        chosen = None
        if size > self._cell_rows:
            generator = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))
            chosen = np.sort(generator.choice(size, self._cell_rows, replace=False, shuffle=False))
        points = self._take(cell, chosen)
        share = int(self._shares[cell])
        return kmeans(points, share, seed=seed, lloyd=self._plan.lloyd).centroids

    def _label_cell(self, cell: int, centroids: NDArray[np.float32]) -> NDArray[np.int32]:
        labels = []
        size = int(self._sizes[cell])
        for start in range(0, size, self._cell_rows):
            rows = np.arange(start, min(start + self._cell_rows, size))
            for block in blocks_of([self._take(cell, rows)]):
                device = self._plan.lloyd.device
                labels.append(nearest(block, centroids=centroids, device=device).labels)
        return np.concatenate(labels)

    def _take(self, cell: int, chosen: NDArray[np.int64] | None) -> Vectors:
        """Return the points of a cell, or those at chosen places among them (ascending)."""
        taken = []
        first = 0
        for block in self._plan.blocks:
            size = int(self._counts[cell, block.index])
            start = int(self._starts[cell, block.index])
            order = np.load(block_path(self._plan.work / "order", block.index), mmap_mode="r")
            rows = order[start : start + size].astype(np.int64)
            if chosen is not None:
                low, high = np.searchsorted(chosen, (first, first + size))
                rows = rows[chosen[low:high] - first]
            if len(rows):
                taken.append(block.take(rows))
            first += size
        points: Vectors = np.concatenate(taken)
        return points

    def _paths(self, group: int) -> tuple[Path, Path]:
        folder = self._plan.work / "cells"
        return folder / f"{group:05d}.labels.npy", folder / f"{group:05d}.centroids.npy"


def _order_block(
    block: Block, *, centroids: NDArray[np.float32], plan: LevelPlan
) -> NDArray[np.int64]:
    """Write the rows of a block sorted by cell; return how many each cell has."""
    path = block_path(plan.work / "order", block.index)
    cells = nearest(block, centroids=centroids, device=plan.lloyd.device).labels
    save_array(path, np.argsort(cells, kind="stable").astype(np.int32))
    return np.bincount(cells, minlength=len(centroids))


def _allocate(sizes: NDArray[np.int64], k: int, most: int) -> NDArray[np.int64]:
    """Share k clusters among cells by size: where there are points, from one to ``most``."""
    room_in_all = np.minimum(sizes, most)
    if room_in_all.sum() < k:
        raise DataError(
            f"Most pictures are too much alike to make {k} clusters of at most {most} a cell: "
            f"ask for at most {int(room_in_all.sum())} in image.levels."
        )
    shares = np.minimum(sizes, 1)
    weights = sizes.astype(np.float64)
    while (missing := k - int(shares.sum())) > 0:
        room = room_in_all - shares
        wanted = np.where(room > 0, weights, 0.0)
        exact = missing * wanted / wanted.sum()
        more = np.minimum(np.floor(exact).astype(np.int64), room)
        if not more.any():
            order = np.argsort(-(exact - np.floor(exact)), kind="stable")
            open_cells = order[room[order] > 0][:missing]
            more[open_cells] = 1
        shares = shares + more
    return shares
