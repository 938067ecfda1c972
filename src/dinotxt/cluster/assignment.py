"""The nearest centroid of every row, and the sums that Lloyd's update needs."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dinotxt.cluster.blocks import Block

_SCORES = 1 << 20  # scores held at once: 4 MiB of float32 stay in the cache
_MIN_CHUNK, _MAX_CHUNK = 128, 2048
_ALIGNMENT = 64  # bytes, of torch's own buffers


@dataclass(frozen=True, slots=True, eq=False)
class BlockSums:
    """What one block adds to Lloyd's update.

    Attributes:
        sums: ``[k, D]`` float64, the sum of the rows of each cluster.
        counts: ``[k]`` int64.
        inertia: The sum of the squared distances to the nearest centroid.
    """

    sums: NDArray[np.float64]
    counts: NDArray[np.int64]
    inertia: float


@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """The nearest centroid of each row of a block.

    Attributes:
        labels: ``[n]`` int32.
        distances: ``[n]`` float32, squared.
    """

    labels: NDArray[np.int32]
    distances: NDArray[np.float32]


def block_sums(block: Block, *, centroids: NDArray[np.float32], device: str = "cpu") -> BlockSums:
    """Assign a block's rows and add them up by cluster.

    Args:
        block: Rows ``[n, D]``.
        centroids: ``[k, D]``.
        device: Where to compute.
    """
    count, width = centroids.shape
    sums = torch.zeros(count, width, dtype=torch.float64, device=device)
    counts = torch.zeros(count, dtype=torch.int64, device=device)
    inertia = 0.0
    buffer = torch.empty(_chunk(count), width, dtype=torch.float64, device=device)
    for rows, scores, labels in _scored(block, centroids, device):
        wide = buffer[: len(rows)].copy_(rows)
        sums.index_add_(0, labels, wide)
        counts += torch.bincount(labels, minlength=count)
        inertia += float(torch.dot(wide.view(-1), wide.view(-1))) - 2 * float(scores.double().sum())
    return BlockSums(sums.cpu().numpy(), counts.cpu().numpy(), inertia)


def nearest(block: Block, *, centroids: NDArray[np.float32], device: str = "cpu") -> Nearest:
    """Return the nearest of the centroids ``[k, D]`` for each row of a block."""
    labels = np.empty(len(block), dtype=np.int32)
    distances = np.empty(len(block), dtype=np.float32)
    start = 0
    for rows, scores, found in _scored(block, centroids, device):
        stop = start + len(rows)
        labels[start:stop] = found.cpu().numpy()
        distances[start:stop] = (rows.square().sum(1) - 2 * scores).clamp_(min=0).cpu().numpy()
        start = stop
    return Nearest(labels, distances)


def nearest_labels(block: Block, *, centroids: NDArray[np.float32]) -> NDArray[np.int32]:
    """Return the labels ``[n]`` of ``nearest``, without the distances."""
    found = [labels.cpu().numpy() for _, _, labels in _scored(block, centroids, "cpu")]
    return np.concatenate(found).astype(np.int32) if found else np.empty(0, dtype=np.int32)


def _scored(
    block: Block, centroids: NDArray[np.float32], device: str
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield (rows, x.c - |c|^2 / 2 of the nearest, its label) by chunk.

    The chunk depends on k alone, so results do not depend on how blocks are grouped.
    """
    matrix = torch.from_numpy(centroids).to(device)
    offset = matrix.double().square().sum(1).mul_(-0.5).float()
    columns = matrix.T.contiguous()
    size = _chunk(len(centroids))
    buffer = torch.empty(size, len(centroids), device=device)
    aligned = torch.empty(size, centroids.shape[1], device=device)  # rounding may follow alignment
    for chunk in block.chunks(size):
        rows = torch.from_numpy(chunk)
        is_ready = rows.dtype == aligned.dtype and rows.is_contiguous() and device == "cpu"
        if not is_ready or rows.data_ptr() % _ALIGNMENT:
            rows = aligned[: len(chunk)].copy_(rows)
        scores = torch.addmm(offset, rows, columns, out=buffer[: len(rows)])
        labels = _argmax(scores)
        best = scores.gather(1, labels[:, None])[:, 0]
        yield rows, best, labels


def _chunk(k: int) -> int:
    """Return how many rows are scored at once against k centroids."""
    return min(max(_SCORES // k, _MIN_CHUNK), _MAX_CHUNK)


def _argmax(scores: Tensor) -> Tensor:
    """Return the place of each row's largest score; on a CPU NumPy is several times faster."""
    if scores.device.type != "cpu":
        return scores.argmax(dim=1)
    return torch.from_numpy(scores.numpy().argmax(axis=1))
