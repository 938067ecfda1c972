"""Tensors of a safetensors file as NumPy arrays, each read when it is asked for. No torch here."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinotxt.errors import CheckpointError

_TYPES = {"F32": "<f4", "F16": "<f2", "I8": "i1", "I64": "<i8"}
_MOST_HEADER_BYTES = 1 << 25


class TensorFile(Mapping[str, NDArray[Any]]):
    """The tensors of a file by name; none of them stays in memory.

    The format: the header's length in eight bytes, the header in JSON, then the values
    (github.com/huggingface/safetensors).

    Args:
        path: The file, whose hash was checked.

    Raises:
        CheckpointError: If it is no such file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            head = stream.read(min(length, _MOST_HEADER_BYTES))
        try:
            content = json.loads(head)
            self._entries = {name: one for name, one in content.items() if name != "__metadata__"}
        except (ValueError, AttributeError):
            message = f"{path} is not a safetensors file: copy it again"
            raise CheckpointError(f"{message}.") from None
        self._start = 8 + length

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Read one tensor.

        Raises:
            CheckpointError: If its type has no counterpart in NumPy.
        """
        entry = self._entries[name]
        kind, (begin, end) = entry["dtype"], entry["data_offsets"]
        if kind not in _TYPES:
            raise CheckpointError(f"{self._path}: {name} is of type {kind}: use the engine torch.")
        dtype = np.dtype(_TYPES[kind])
        count, offset = (end - begin) // dtype.itemsize, self._start + begin
        values = np.fromfile(self._path, dtype=dtype, count=count, offset=offset)
        return values.reshape(entry["shape"])

    def __iter__(self) -> Iterator[str]:
        """Go through the names."""
        return iter(self._entries)

    def __len__(self) -> int:
        """Count the tensors."""
        return len(self._entries)
