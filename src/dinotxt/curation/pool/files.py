"""The files of a curation, each whole or absent: arrays, tables, and arrays kept by blocks."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dinotxt.errors import DataError, import_extra
from dinotxt.files import atomic_path

if TYPE_CHECKING:
    from dinotxt.cluster import Block  # which draws in torch


_ROWS = 1 << 14


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write a ``.npy`` file atomically."""
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, array)


def save_parts(path: Path, parts: Iterable[NDArray[Any]], shape: tuple[int, ...]) -> None:
    """Write a ``.npy`` file of a shape atomically, from parts that follow one another.

    A mapped file would be quicker to fill, but a full disk would end the process.
    """
    iterator = iter(parts)
    first = next(iterator)
    header = {
        "descr": np.lib.format.dtype_to_descr(first.dtype),
        "fortran_order": False,
        "shape": shape,
    }
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        np.ascontiguousarray(first).tofile(stream)
        for part in iterator:
            np.ascontiguousarray(part).tofile(stream)


def by_key(
    keys: NDArray[np.integer[Any]], rows: NDArray[Any]
) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield each key with its rows, both in order; one sort, however many keys there are.

    Args:
        keys: ``[n]``, the key of each row.
        rows: ``[n, ...]``.
    """
    order = np.argsort(keys, kind="stable")
    found, starts = np.unique(keys[order], return_index=True)
    yield from zip(found.tolist(), np.split(rows[order], starts)[1:], strict=True)


def write_table(path: Path, columns: dict[str, Any]) -> None:
    """Write columns (Arrow or NumPy arrays, or lists) as Parquet, atomically (extra ``curate``)."""
    arrow = import_extra("pyarrow", extra="curate")
    parquet = import_extra("pyarrow.parquet", extra="curate")
    with atomic_path(path) as temporary:
        parquet.write_table(
            arrow.table(columns), temporary, compression="zstd", row_group_size=_ROWS
        )


def read_table(path: Path, columns: Sequence[str] | None = None) -> Any:
    """Return an Arrow table.

    Raises:
        DataError: If the file is missing or damaged.
    """
    arrow = import_extra("pyarrow", extra="curate")
    parquet = import_extra("pyarrow.parquet", extra="curate")
    try:
        return parquet.read_table(path, columns=list(columns) if columns else None)
    except (OSError, arrow.ArrowException) as error:
        message = f"{path} is missing or damaged ({error}): delete it and run the stage again."
        raise DataError(message) from None


def block_path(folder: Path, index: int) -> Path:
    """Return the file of a block in a folder."""
    return folder / f"block-{index:05d}.npy"


def read_rows(
    folder: Path, blocks: "Sequence[Block]", rows: NDArray[np.int64]
) -> NDArray[np.int32]:
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
