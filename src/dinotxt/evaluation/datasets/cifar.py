"""CIFAR-10 and CIFAR-100 as Krizhevsky distributes them: the binary and the Python version.

The class names come from the files themselves. The Python version is pickled; nothing but NumPy
arrays is unpickled from it.
"""

import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinotxt.data.readers import LabelledImage, LabelledSet
from dinotxt.errors import DataError
from dinotxt.files import read_lines

_PIXELS = 3 * 32 * 32
_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
_SAFE = {("ndarray", "numpy"), ("dtype", "numpy"), ("_reconstruct", "numpy.core.multiarray")}
_SAFE |= {("_reconstruct", "numpy._core.multiarray"), ("encode", "_codecs")}


def read_cifar10(folder: Path, split: str = "test") -> LabelledSet:
    """Read ``cifar-10-batches-bin`` or ``cifar-10-batches-py``, given itself or its parent.

    Args:
        folder: The folder.
        split: ``test`` or ``train``.

    Raises:
        DataError: If a file is missing or damaged.
    """
    binary = _first(folder, "cifar-10-batches-bin", "batches.meta.txt")
    names = ("test_batch",) if split == "test" else _BATCHES
    if binary is not None:
        words = tuple(line for line in read_lines(binary / "batches.meta.txt") if line)
        return _collect((_binary(binary / f"{name}.bin", 1) for name in names), words, "cifar10")
    python = _first(folder, "cifar-10-batches-py", "batches.meta")
    if python is None:
        raise DataError(
            f"{folder} has neither cifar-10-batches-bin/batches.meta.txt nor "
            "cifar-10-batches-py/batches.meta: unpack CIFAR-10 there."
        )
    words = _words(_unpickle(python / "batches.meta"), b"label_names", python)
    return _collect((_pickled(python / name, b"labels") for name in names), words, "cifar10")


def read_cifar100(folder: Path, split: str = "test") -> LabelledSet:
    """Read ``cifar-100-binary`` or ``cifar-100-python`` (fine labels), itself or its parent.

    Raises:
        DataError: If a file is missing or damaged.
    """
    binary = _first(folder, "cifar-100-binary", "fine_label_names.txt")
    if binary is not None:
        words = tuple(line for line in read_lines(binary / "fine_label_names.txt") if line)
        return _collect([_binary(binary / f"{split}.bin", 2)], words, "cifar100")
    python = _first(folder, "cifar-100-python", "meta")
    if python is None:
        raise DataError(
            f"{folder} has neither cifar-100-binary/fine_label_names.txt nor "
            "cifar-100-python/meta: unpack CIFAR-100 there."
        )
    words = _words(_unpickle(python / "meta"), b"fine_label_names", python)
    return _collect([_pickled(python / split, b"fine_labels")], words, "cifar100")


_Batch = tuple[str, NDArray[np.uint8], list[int]]


def _collect(batches: Any, words: tuple[str, ...], name: str) -> LabelledSet:
    items = tuple(item for batch in batches for item in _items(batch))
    return LabelledSet(items, words, name=name)


def _items(batch: _Batch) -> Iterator[LabelledImage]:
    file, planes, labels = batch
    pictures = planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    for number, label in enumerate(labels):
        key = f"{file}/{number:05d}"
        yield LabelledImage(key, pictures[number], label)


def _first(folder: Path, name: str, marker: str) -> Path | None:
    """Return the folder or the one in it that holds a file."""
    return next((path for path in (folder, folder / name) if (path / marker).is_file()), None)


def _binary(path: Path, num_labels: int) -> _Batch:
    rows = np.frombuffer(_bytes(path), dtype=np.uint8)
    if not len(rows) or len(rows) % (_PIXELS + num_labels):
        raise DataError(f"{path} has {len(rows)} bytes, which is no whole number of pictures.")
    rows = rows.reshape(-1, _PIXELS + num_labels)
    return path.name, rows[:, num_labels:], rows[:, num_labels - 1].tolist()


def _pickled(path: Path, key: bytes) -> _Batch:
    content = _unpickle(path)
    planes, labels = content.get(b"data"), content.get(key)
    if (
        not isinstance(planes, np.ndarray)
        or not isinstance(labels, list)
        or planes.dtype != np.uint8
        or planes.shape != (len(labels), _PIXELS)
    ):
        raise DataError(f"{path} holds no pictures with {key.decode()}: unpack it anew.")
    return path.name, planes, [int(label) for label in labels]


def _words(content: dict[bytes, Any], key: bytes, folder: Path) -> tuple[str, ...]:
    words = content.get(key)
    if not isinstance(words, list) or not all(isinstance(word, bytes | str) for word in words):
        raise DataError(f"{folder} has no {key.decode()}: unpack the data set anew.")
    return tuple(word.decode() if isinstance(word, bytes) else word for word in words)


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that knows NumPy arrays and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (name, module) not in _SAFE:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is no array")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _unpickle(path: Path) -> dict[bytes, Any]:
    stored = _bytes(path)
    try:
        content = _ArraysOnly(io.BytesIO(stored), encoding="bytes").load()
    except Exception as error:  # a damaged pickle raises anything
        raise DataError(f"{path} is not a file of CIFAR ({error}).") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} is not a file of CIFAR: it holds no table.")
    # Keys are bytes as Python 2 stored them, and text in a file that Python 3 wrote again.
    return {key.encode() if isinstance(key, str) else key: value for key, value in content.items()}


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}): unpack the data set there."
        ) from None
