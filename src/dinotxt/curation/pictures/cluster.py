"""Hierarchical k-means over the pictures: each level clusters the centroids of the one below.

Paper sections 3.2 and 4.2 (three levels of 20M, 800K and 80K); Vo et al. 2024. Below
``cluster/``, ``level-N/centroids.npy`` is float32 ``[k_N, D]`` and ``level-N/labels/block-B.npy``
int32, the cluster of each embedding (level 1) or of each centroid of level N - 1.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dinotxt.cluster import Block, Lloyd, blocks_of, width_of
from dinotxt.config import to_json
from dinotxt.curation.config import CurationConfig, ImageConfig
from dinotxt.curation.engine import Engine
from dinotxt.curation.pictures.level import LevelPlan, direct_level, needs_split
from dinotxt.curation.pictures.split import split_level
from dinotxt.curation.pool import block_path
from dinotxt.curation.stage import StageFolder, StageReport, read_report
from dinotxt.errors import DataError

STAGE = "cluster"
_KEYS = ("levels", "resamplings", "points", "iterations", "tolerance")


def cluster_pictures(config: CurationConfig, engine: Engine) -> StageReport:
    """Cluster the embeddings of the pool, level by level.

    Raises:
        DataError: If there are fewer distinct pictures than clusters of the first level.
    """
    root = config.output
    settings = to_json(config.image)
    folder = StageFolder(
        root,
        STAGE,
        config={"seed": config.seed, **{key: settings[key] for key in _KEYS}},
        after=["embed"],
    )
    if finished := folder.finished():
        return finished
    blocks = embedding_blocks(root)
    total = sum(len(block) for block in blocks)
    build_levels(folder.path, blocks, config.image, seed=config.seed, engine=engine)
    paths = [folder.path / f"level-{n + 1}" for n in range(len(config.image.levels))]
    sizes = np.bincount(level_labels(paths[0], blocks), minlength=config.image.levels[0])
    return folder.finish(
        StageReport(
            stage=STAGE,
            n_in=total,
            n_out=total,
            reasons={},
            files=folder.relative(path / "centroids.npy" for path in paths),
            details={
                "levels": list(config.image.levels),
                "largest_cluster": int(sizes.max()),
                "empty_clusters": int((sizes == 0).sum()),
            },
        )
    )


def build_levels(
    folder: Path, blocks: Sequence[Block], settings: ImageConfig, *, seed: int, engine: Engine
) -> None:
    """Build ``level-1`` to ``level-N`` in a folder; finished levels are kept.

    Args:
        folder: Where the levels go.
        blocks: The vectors of the first level.
        settings: The levels and how to make them.
        seed: Decides the clusters.
        engine: Where the work is done.

    Raises:
        DataError: If there are fewer vectors than clusters of the first level.
    """
    total = sum(len(block) for block in blocks)
    if total < settings.levels[0]:
        raise DataError(
            f"{total} distinct pictures cannot make {settings.levels[0]} clusters: "
            f"set image.levels to at most {total}, such as {_suggestion(total)}."
        )
    device = _device(settings.device)
    for number, k in enumerate(settings.levels, 1):
        path = folder / f"level-{number}"
        if not (path / "centroids.npy").exists():
            plan = LevelPlan(
                blocks=blocks,
                k=k,
                folder=path,
                seed=(seed, number),
                lloyd=Lloyd(
                    iterations=settings.iterations,
                    tolerance=settings.tolerance,
                    device=device,
                ),
                resamplings=settings.resamplings,
                points=settings.points,
            )
            build = split_level if needs_split(k, width_of(blocks)) else direct_level
            build(plan, engine)
        shutil.rmtree(path / "work", ignore_errors=True)
        blocks = blocks_of([path / "centroids.npy"])


def embedding_blocks(root: Path) -> list[Block]:
    """Return the embeddings of the pool as blocks."""
    return blocks_of([root / file for file in read_report(root, "embed").files])


def level_labels(path: Path, blocks: Sequence[Block]) -> NDArray[np.int32]:
    """Return all labels of a level."""
    stored = [np.load(block_path(path / "labels", block.index)) for block in blocks]
    labels: NDArray[np.int32] = np.concatenate(stored)
    return labels


def level_sizes(path: Path, blocks: Sequence[Block], k: int) -> NDArray[np.int64]:
    """Return how many points each of the k clusters of a level has, ``[k]``."""
    sizes = np.zeros(k, dtype=np.int64)
    for block in blocks:
        sizes += np.bincount(np.load(block_path(path / "labels", block.index)), minlength=k)
    return sizes


def level_parents(folder: Path, num_levels: int) -> list[NDArray[np.int64]]:
    """Return, for each level but the last, the cluster above each of its clusters."""
    parents = []
    for number in range(2, num_levels + 1):
        below = blocks_of([folder / f"level-{number - 1}" / "centroids.npy"])
        parents.append(level_labels(folder / f"level-{number}", below).astype(np.int64))
    return parents


def _device(name: str) -> str:
    if name != "auto":
        return name
    from dinotxt.inference.engines.torch_towers import find_device  # it brings the models along

    return str(find_device(name))


def _suggestion(total: int) -> list[int]:
    first = max(total // 10, 1)
    return [level for level in (first, first // 10) if level]
