"""k-means against faiss and against plain NumPy."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dinotxt.cluster import Lloyd, blocks_of, kmeans
from dinotxt.cluster.assignment import block_sums, nearest
from dinotxt.cluster.seeding import choose_centroids
from dinotxt.errors import DataError

Array = NDArray[np.float32]


def _points(seed: int = 0, n: int = 600, width: int = 8, groups: int = 12) -> Array:
    generator = np.random.default_rng(seed)
    centers = 4 * generator.standard_normal((groups, width))
    noise = generator.standard_normal((n, width))
    return (centers[generator.integers(0, groups, n)] + noise).astype(np.float32)


def _inertia(points: Array, centroids: Array) -> float:
    return float(((points[:, None] - centroids) ** 2).sum(-1).min(1).sum())


def _lloyd(points: Array, centroids: Array, iterations: int) -> Array:
    for _ in range(iterations):
        labels = ((points[:, None] - centroids) ** 2).sum(-1).argmin(1)
        centroids = np.stack([points[labels == i].mean(0) for i in range(len(centroids))])
    return centroids


def test_iterations_from_given_centroids_are_those_of_plain_lloyd() -> None:
    points = _points()
    initial = points[:12]
    expected = _lloyd(points, initial, 5)
    result = kmeans(points, 12, initial=initial, lloyd=Lloyd(iterations=5))
    np.testing.assert_allclose(result.centroids, expected, atol=1e-4)
    assert result.num_iterations == 5


def test_objective_is_that_of_faiss_from_the_same_centroids() -> None:
    faiss = pytest.importorskip("faiss")
    points, initial = _points(n=2000), _points(n=2000)[:32].copy()
    peer = faiss.Kmeans(8, 32, niter=10, max_points_per_centroid=10**6, min_points_per_centroid=1)
    peer.train(points, init_centroids=initial)
    result = kmeans(points, 32, initial=initial, lloyd=Lloyd(iterations=10))
    assert _inertia(points, result.centroids) == pytest.approx(
        _inertia(points, peer.centroids), rel=5e-3
    )


def test_k_means_plus_plus_finds_well_separated_groups() -> None:
    points = 10 * np.eye(6, dtype=np.float32).repeat(20, 0)
    assert kmeans(points, 6, lloyd=Lloyd(iterations=2)).inertia == pytest.approx(0, abs=1e-3)


def test_many_clusters_are_seeded_in_rounds_nearly_as_well() -> None:
    points = _points(n=3000, groups=300)
    rounds = choose_centroids(points, k=300, seed=[0])
    random = points[np.random.default_rng(0).choice(3000, 300, replace=False)]
    assert len(np.unique(rounds, axis=0)) >= 295
    assert _inertia(points, rounds) < 0.9 * _inertia(points, random)


def test_the_seed_decides_the_result() -> None:
    points = _points()
    first, same, other = (kmeans(points, 20, seed=seed).centroids for seed in (1, 1, 2))
    assert first.tobytes() == same.tobytes()
    assert first.tobytes() != other.tobytes()


def test_files_give_the_bytes_of_memory_however_they_are_cut(tmp_path: Path) -> None:
    points = _points()
    files = []
    for index, part in enumerate(np.array_split(points, [7, 7, 300])):
        files.append(tmp_path / f"{index}.npy")
        np.save(files[-1], part)
    from_files = kmeans(blocks_of(files, rows=100), 9)
    from_memory = kmeans(blocks_of([points], rows=100), 9)
    assert from_files.centroids.tobytes() == from_memory.centroids.tobytes()


def test_work_done_out_of_order_gives_the_same_bytes() -> None:
    def backwards(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        results = [function(item) for item in reversed(list(items))]
        return results[::-1]

    blocks = blocks_of([_points()], rows=50)
    plain, shuffled = kmeans(blocks, 9), kmeans(blocks, 9, mapper=backwards)
    assert plain.centroids.tobytes() == shuffled.centroids.tobytes()


def test_empty_clusters_are_given_points() -> None:
    points = _points(n=400)
    initial = np.concatenate([points[:4], np.full((4, 8), 1e3, dtype=np.float32)])
    labels = kmeans(points, 8, initial=initial, lloyd=Lloyd(iterations=10)).predict(points)
    assert len(np.unique(labels)) == 8


def test_identical_points_make_finite_centroids() -> None:
    points = np.zeros((10, 3), dtype=np.float32)
    assert np.isfinite(kmeans(points, 4).centroids).all()


def test_half_precision_vectors_are_accepted() -> None:
    points = _points().astype(np.float16)
    assert kmeans(points, 5).centroids.dtype == np.float32


def test_tolerance_stops_early() -> None:
    result = kmeans(_points(), 12, lloyd=Lloyd(iterations=50, tolerance=0.01))
    assert result.num_iterations < 50


def test_checkpoint_goes_on_to_the_same_bytes() -> None:
    class Memory:
        state: tuple[int, float, Array] | None = None

        def load(self) -> tuple[int, float, Array] | None:
            return self.state

        def save(self, iteration: int, inertia: float, centroids: Array) -> None:
            self.state = (iteration, inertia, centroids)

    points, memory = _points(), Memory()
    whole = kmeans(points, 9, lloyd=Lloyd(iterations=6))
    kmeans(points, 9, lloyd=Lloyd(iterations=2), checkpoint=memory)
    resumed = kmeans(points, 9, lloyd=Lloyd(iterations=6), checkpoint=memory)
    assert resumed.centroids.tobytes() == whole.centroids.tobytes()
    assert resumed.num_iterations == 6


def test_a_run_killed_after_it_stopped_by_tolerance_stops_there_again() -> None:
    class Memory:
        saved: list[tuple[int, float, Array]]

        def load(self) -> tuple[int, float, Array] | None:
            return self.saved[-1] if self.saved else None

        def save(self, iteration: int, inertia: float, centroids: Array) -> None:
            self.saved.append((iteration, inertia, centroids))

    points, memory, lloyd = _points(), Memory(), Lloyd(iterations=30, tolerance=0.05)
    memory.saved = []
    whole = kmeans(points, 9, lloyd=lloyd, checkpoint=memory)
    resumed = kmeans(points, 9, lloyd=lloyd, checkpoint=memory)
    assert whole.num_iterations < 30
    assert resumed.num_iterations == whole.num_iterations
    assert resumed.centroids.tobytes() == whole.centroids.tobytes()


@pytest.mark.parametrize("k", [0, 11])
def test_a_number_of_clusters_that_cannot_be_made_is_an_error(k: int) -> None:
    with pytest.raises(DataError, match="ask for 1 to 10"):
        kmeans(np.zeros((10, 2), dtype=np.float32), k)


@pytest.mark.parametrize("given", [True, False])
def test_nan_is_an_error(given: bool) -> None:
    points = _points()
    initial = points[:3].copy() if given else None
    points[5, 2] = np.nan
    with pytest.raises(DataError, match="NaN"):
        kmeans(points, 3, initial=initial)


def test_wrong_number_of_initial_centroids_is_an_error() -> None:
    with pytest.raises(DataError, match="2 initial centroids"):
        kmeans(_points(), 3, initial=_points()[:2])


def test_nearest_gives_label_and_squared_distance() -> None:
    points, centroids = _points(), _points(1)[:7]
    distances = ((points[:, None] - centroids) ** 2).sum(-1)
    found = nearest(blocks_of([points])[0], centroids=centroids)
    assert (found.labels == distances.argmin(1)).all()
    np.testing.assert_allclose(found.distances, distances.min(1), rtol=1e-4)


def test_block_sums_add_up_to_the_block() -> None:
    points = _points()
    sums = block_sums(blocks_of([points])[0], centroids=points[:5])
    assert sums.counts.sum() == len(points)
    np.testing.assert_allclose(sums.sums.sum(0), points.sum(0, dtype=np.float64), rtol=1e-6)
    assert sums.inertia == pytest.approx(_inertia(points, points[:5]), rel=1e-5)


def test_threads_do_not_change_labels() -> None:
    points, threads = _points(n=3000), torch.get_num_threads()
    block = blocks_of([points])[0]
    torch.set_num_threads(1)
    one = nearest(block, centroids=points[:100]).labels
    torch.set_num_threads(threads)
    assert (one == nearest(block, centroids=points[:100]).labels).all()
