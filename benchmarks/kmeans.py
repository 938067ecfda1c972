"""k-means against faiss: the same vectors, first centroids, iterations and threads."""

import os
import statistics

import faiss
import numpy as np
import torch
from numpy.typing import NDArray

from curation_data import make_points
from dinotxt.cluster import Lloyd, kmeans
from harness import Figure, main, seconds

_WIDTH, _CLUSTERS, _ITERATIONS = 384, 512, 10


def measure(quick: bool) -> dict[str, Figure]:
    """Measure the time and the objective; the time may be 1.5 times that of faiss."""
    rows, runs = (10_000, 3) if quick else (40_000, 7)
    threads = os.cpu_count() or 1
    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)
    points = make_points(rows, _WIDTH, 800)
    chosen = np.random.default_rng(1).choice(rows, _CLUSTERS, replace=False)
    initial = points[chosen].copy()
    found: dict[str, NDArray[np.float32]] = {}

    def ours() -> None:
        lloyd = Lloyd(iterations=_ITERATIONS)
        found["ours"] = kmeans(points, _CLUSTERS, initial=initial, lloyd=lloyd).centroids

    def peer() -> None:
        clustering = faiss.Kmeans(
            _WIDTH, _CLUSTERS, niter=_ITERATIONS, max_points_per_centroid=rows,
            min_points_per_centroid=1,
        )  # fmt: skip
        clustering.train(points, init_centroids=initial)
        found["peer"] = np.asarray(clustering.centroids)

    ours()
    peer()
    times = [(seconds(ours), seconds(peer)) for _ in range(runs)]
    time = Figure(
        value=statistics.median(a for a, _ in times),
        peer=statistics.median(b for _, b in times),
        ratio=statistics.median(b / a for a, b in times),
        unit="s",
        runs=runs,
    )
    index = faiss.IndexFlatL2(_WIDTH)
    objectives = {}
    for name, centroids in found.items():
        index.reset()
        index.add(centroids)
        objectives[name] = float(index.search(points, 1)[0].sum(dtype=np.float64))
    objective = Figure(
        value=objectives["ours"],
        peer=objectives["peer"],
        ratio=objectives["peer"] / objectives["ours"],
        unit="sum of squared distances",
        runs=1,
    )
    return {"time": time, "objective": objective}


if __name__ == "__main__":
    main("kmeans", measure)
