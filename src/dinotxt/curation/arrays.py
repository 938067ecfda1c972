"""NumPy files that are either whole or absent."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinotxt.files import atomic_path


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write a ``.npy`` file atomically."""
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, array)
