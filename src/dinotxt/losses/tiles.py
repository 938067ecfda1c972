"""Cut an N x N similarity matrix into tiles that fit in memory."""

from collections.abc import Iterator

import torch
from torch import Tensor

ROWS = 1024
COLUMNS = 8192


def tiles(num_rows: int, num_columns: int) -> Iterator[tuple[slice, slice]]:
    """Yield the row and column ranges of every tile, row by row."""
    for row in range(0, num_rows, ROWS):
        for column in range(0, num_columns, COLUMNS):
            yield (
                slice(row, min(row + ROWS, num_rows)),
                slice(column, min(column + COLUMNS, num_columns)),
            )


def diagonal_of(tile: Tensor, rows: slice, columns: slice) -> Tensor:
    """Return the view of ``tile`` that lies on the diagonal of the whole matrix (maybe empty)."""
    return torch.diagonal(tile, rows.start - columns.start)


def compute_dtype(*tensors: Tensor) -> torch.dtype:
    """Return the type to compute in: float32, or float64 where a tensor has it."""
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype
