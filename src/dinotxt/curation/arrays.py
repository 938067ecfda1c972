"""NumPy files that are either whole or absent."""

from collections.abc import Iterable
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
