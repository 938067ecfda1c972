"""NumPy files that are either whole or absent, and rows by their key."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinotxt.files import atomic_path


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
