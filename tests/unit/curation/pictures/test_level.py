"""Levels of clusters: direct, resampled and split, the same on any engine."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dinotxt.cluster import Lloyd, blocks_of
from dinotxt.curation.engine import InProcess
from dinotxt.curation.pictures import level, split
from dinotxt.curation.pictures.cluster import level_labels, level_sizes
from dinotxt.curation.pictures.level import FileCheckpoint, LevelPlan, direct_level, sample_points
from dinotxt.curation.pictures.split import split_level
from dinotxt.errors import ConfigError, DataError


def _points(n: int = 900, width: int = 6) -> NDArray[np.float16]:
    generator = np.random.default_rng(3)
    centers = 5 * generator.standard_normal((9, width))
    sizes = np.repeat(np.arange(9), np.array([500, 100, 100, 50, 50, 40, 30, 20, 10]))
    return (centers[sizes] + generator.standard_normal((n, width))).astype(np.float16)


def _plan(folder: Path, vectors: NDArray[np.float16], k: int, **changes: Any) -> LevelPlan:
    settings: dict[str, Any] = {
        "blocks": blocks_of([vectors], rows=128),
        "k": k,
        "folder": folder,
        "seed": (0, 1),
        "lloyd": Lloyd(iterations=8),
        "resamplings": 0,
        "points": None,
    }
    return LevelPlan(**{**settings, **changes})


def _result(folder: Path, plan: LevelPlan) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    return np.load(folder / "centroids.npy"), level_labels(folder, plan.blocks)


def _inertia(points: NDArray[Any], centroids: NDArray[Any]) -> float:
    return float(((points[:, None].astype(float) - centroids) ** 2).sum(-1).min(1).sum())


def test_labels_are_the_nearest_centroids(tmp_path: Path) -> None:
    points = _points()
    plan = _plan(tmp_path, points, 20)
    direct_level(plan, InProcess())
    centroids, labels = _result(tmp_path, plan)
    distances = ((points[:, None].astype(np.float64) - centroids) ** 2).sum(-1)
    assert (labels == distances.argmin(1)).mean() > 0.995
    assert level_sizes(tmp_path, plan.blocks, 20).sum() == len(points)


def test_resampling_evens_out_the_sizes_of_clusters(tmp_path: Path) -> None:
    points = _points()
    spreads = []
    for times in (0, 5):
        plan = _plan(tmp_path / str(times), points, 18, resamplings=times, points=6)
        direct_level(plan, InProcess())
        centroids = np.load(plan.folder / "centroids.npy")
        dense = points[:500].astype(np.float32)  # the head: most points, one group
        near = ((centroids[:, None] - dense) ** 2).sum(-1).min(1) < 9
        spreads.append(int(near.sum()))
    assert spreads[1] < spreads[0]


@pytest.mark.parametrize(
    ("num_points", "k", "points"),
    [(20_000_000, 800_000, 12), (8_000, 400, 10), (1_000_000_000, 8192, 256), (100, 90, 0)],
)
def test_a_sample_has_half_the_mean_but_does_not_grow_with_the_pool(
    num_points: int, k: int, points: int
) -> None:
    assert sample_points(num_points, k) == points


def test_a_sample_with_fewer_points_than_clusters_is_not_taken(tmp_path: Path) -> None:
    points = np.zeros((50, 4), dtype=np.float16)
    plan = _plan(tmp_path, points, 10, resamplings=3, points=2)
    direct_level(plan, InProcess())
    assert np.isfinite(np.load(tmp_path / "centroids.npy")).all()


def test_a_split_gives_k_clusters_nearly_as_good_as_one_k_means(tmp_path: Path) -> None:
    points = _points()
    whole, parts = _plan(tmp_path / "a", points, 30), _plan(tmp_path / "b", points, 30)
    direct_level(whole, InProcess())
    split_level(parts, InProcess())
    centroids, labels = _result(parts.folder, parts)
    assert centroids.shape == (30, 6)
    assert len(np.unique(labels)) == 30
    assigned = ((points.astype(float) - centroids[labels]) ** 2).sum()
    best = _inertia(points, np.load(whole.folder / "centroids.npy"))
    assert assigned < 1.35 * best


def test_a_split_does_not_depend_on_groups_nor_on_the_order_of_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Backwards:
        def map(self, function: Callable[[Any], Any], items: Iterable[Any], /) -> Iterator[Any]:
            results = [function(item) for item in reversed(list(items))]
            return iter(results[::-1])

    points = _points()
    one, two = _plan(tmp_path / "a", points, 30), _plan(tmp_path / "b", points, 30)
    split_level(one, InProcess())
    monkeypatch.setattr(split, "_GROUP_BYTES", 600)
    split_level(two, Backwards())
    for first, second in zip(_result(one.folder, one), _result(two.folder, two), strict=True):
        assert first.tobytes() == second.tobytes()


def test_a_cell_larger_than_memory_is_clustered_on_a_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split, "_CELL_BYTES", 64 * 12)
    points = _points()
    plan = _plan(tmp_path, points, 30)
    split_level(plan, InProcess())
    centroids, labels = _result(tmp_path, plan)
    assert len(centroids) == 30
    assert len(labels) == len(points)


def test_a_level_beyond_two_steps_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="too large"):
        split_level(_plan(tmp_path, _points(), 40_000_000), InProcess())


def test_the_first_level_of_the_paper_fits_two_steps() -> None:
    cells = level.num_cells(20_000_000, 1024)
    assert cells <= level.most_centroids(1024) <= level.MAX_CENTROIDS
    assert 20_000_000 / cells <= level.most_centroids(1024) / 2
    assert level.num_cells(20_000, 384) == 141


def test_no_cell_gets_more_clusters_than_a_task_holds() -> None:
    shares = split._allocate(np.array([10_000, 50, 50, 20]), 100, 40)
    assert shares.sum() == 100
    assert shares.max() == 40
    with pytest.raises(DataError, match="at most 130"):
        split._allocate(np.array([10_000, 50, 50, 10]), 131, 40)


def test_a_killed_level_goes_on_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(level, "_SAVE_SECONDS", 0.0)
    points = _points()
    whole = _plan(tmp_path / "a", points, 12, resamplings=3)
    direct_level(whole, InProcess())

    class Dying:
        calls = 0

        def map(self, function: Callable[[Any], Any], items: Iterable[Any], /) -> Iterator[Any]:
            self.calls += 1
            if self.calls == 14:
                raise KeyboardInterrupt
            return map(function, items)

    killed = _plan(tmp_path / "b", points, 12, resamplings=3)
    with pytest.raises(KeyboardInterrupt):
        direct_level(killed, Dying())
    assert any((killed.work).glob("checkpoint-*.npy"))
    direct_level(killed, InProcess())
    for first, second in zip(
        _result(whole.folder, whole), _result(killed.folder, killed), strict=True
    ):
        assert first.tobytes() == second.tobytes()


def test_a_checkpoint_keeps_the_centroids_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(level, "_SAVE_SECONDS", 0.0)
    checkpoint = FileCheckpoint(tmp_path / "state.npy")
    assert checkpoint.load() is None
    centroids = np.random.default_rng(0).standard_normal((5, 1)).astype(np.float32)
    checkpoint.save(7, 1.25, centroids)
    stored = checkpoint.load()
    assert stored is not None
    assert stored[:2] == (7, 1.25)
    assert stored[2][:, :1].tobytes() == centroids.tobytes()


@pytest.mark.parametrize(("sizes", "k"), [([10, 0, 1, 500], 40), ([3, 3, 3], 9), ([1, 1], 2)])
def test_clusters_are_shared_out_in_full(sizes: list[int], k: int) -> None:
    shares = split._allocate(np.array(sizes), k, 8192)
    assert shares.sum() == k
    assert (shares <= sizes).all()
    assert ((shares > 0) == (np.array(sizes) > 0)).all()
