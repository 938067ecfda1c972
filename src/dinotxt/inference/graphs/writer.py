"""ONNX graphs written as bytes, without the package ``onnx``.

The format is a handful of protocol-buffer messages (github.com/onnx/onnx, ``onnx.proto``): a
field is its number and wire type, then a number or a length and bytes. Weights stay outside, as
arrays that ONNX Runtime is given with the graph.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

OPSET, MICROSOFT_OPSET = 20, 1
MICROSOFT = "com.microsoft"
_IR_VERSION = 9
_TYPES = {"float32": 1, "int8": 3, "int32": 6, "int64": 7, "float16": 10}
_FLOAT, _INT, _STRING, _INTS = 1, 2, 3, 7
_SMALL = 1024  # bytes of a constant that stands in the graph itself

Shape = Sequence[int | str]


@dataclass(slots=True)
class Graph:
    """A graph that grows node by node; each call returns the name of a value.

    Attributes:
        name: Of the graph.
        weights: Arrays by name, which the graph does not hold itself.
    """

    name: str
    weights: dict[str, NDArray[Any]] = field(default_factory=dict)
    _nodes: list[bytes] = field(default_factory=list)
    _constants: list[bytes] = field(default_factory=list)
    _inputs: list[bytes] = field(default_factory=list)
    _outputs: list[bytes] = field(default_factory=list)

    def input(self, name: str, dtype: str, shape: Shape) -> str:
        """Declare an input; words in its shape stand for any number."""
        self._inputs.append(_value(name, dtype, shape))
        return name

    def output(self, name: str, value: str, shape: Shape) -> None:
        """Give a float32 value out under a name."""
        self._nodes.append(_node("Identity", [value], [name], "", {}))
        self._outputs.append(_value(name, "float32", shape))

    def weight(self, array: NDArray[Any]) -> str:
        """Add an array that does not change; a large one stays outside of the graph."""
        name = f"w{len(self._constants)}"
        array = np.ascontiguousarray(array)
        is_inside = array.nbytes <= _SMALL
        if not is_inside:
            self.weights[name] = array
        self._constants.append(_tensor(name, array, is_inside))
        return name

    def node(self, kind: str, *inputs: str, domain: str = "", **settings: Any) -> str:
        """Add an operation with one output."""
        name = f"v{len(self._nodes)}"
        self._nodes.append(_node(kind, inputs, [name], domain, settings))
        return name

    def split(self, value: str, sizes: str) -> tuple[str, str]:
        """Cut the last axis of a value in two."""
        names = [f"v{len(self._nodes)}", f"v{len(self._nodes)}b"]
        self._nodes.append(_node("Split", [value, sizes], names, "", {"axis": -1}))
        return names[0], names[1]

    def to_bytes(self) -> bytes:
        """Return the model without its large weights."""
        fields = [(1, self._nodes), (5, self._constants), (11, self._inputs), (12, self._outputs)]
        graph = b"".join(_bytes(number, part) for number, parts in fields for part in parts)
        opsets = [(b"", OPSET), (MICROSOFT.encode(), MICROSOFT_OPSET)]
        return (
            _int(1, _IR_VERSION)
            + _bytes(7, graph + _bytes(2, self.name.encode()))
            + b"".join(_bytes(8, _bytes(1, name) + _int(2, version)) for name, version in opsets)
        )


def _node(
    kind: str, inputs: Sequence[str], outputs: list[str], domain: str, settings: dict[str, Any]
) -> bytes:
    parts = [_bytes(1, name.encode()) for name in inputs]
    parts += [_bytes(2, name.encode()) for name in outputs]
    parts += [_bytes(3, outputs[0].encode()), _bytes(4, kind.encode())]
    parts += [_bytes(5, _attribute(name, value)) for name, value in settings.items()]
    return b"".join(parts) + (_bytes(7, domain.encode()) if domain else b"")


def _attribute(name: str, value: Any) -> bytes:
    head = _bytes(1, name.encode())
    if isinstance(value, float):
        return head + _key(2, 5) + struct.pack("<f", value) + _int(20, _FLOAT)
    if isinstance(value, int):
        return head + _int(3, value) + _int(20, _INT)
    if isinstance(value, str):
        return head + _bytes(4, value.encode()) + _int(20, _STRING)
    return head + b"".join(_int(8, one) for one in value) + _int(20, _INTS)


def _tensor(name: str, array: NDArray[Any], is_inside: bool) -> bytes:
    head = b"".join(_int(1, side) for side in array.shape)
    head += _int(2, _TYPES[array.dtype.name]) + _bytes(8, name.encode())
    if is_inside:
        return head + _bytes(9, array.tobytes())
    entries = {"location": "weights", "offset": "0", "length": str(array.nbytes)}
    pairs = (_bytes(1, key.encode()) + _bytes(2, value.encode()) for key, value in entries.items())
    return head + b"".join(_bytes(13, pair) for pair in pairs) + _int(14, 1)


def _value(name: str, dtype: str, shape: Shape) -> bytes:
    sides = (_int(1, side) if isinstance(side, int) else _bytes(2, side.encode()) for side in shape)
    dims = b"".join(_bytes(1, side) for side in sides)
    tensor = _int(1, _TYPES[dtype]) + _bytes(2, dims)
    return _bytes(1, name.encode()) + _bytes(2, _bytes(1, tensor))


def _key(number: int, wire: int) -> bytes:
    return _varint(number << 3 | wire)


def _int(number: int, value: int) -> bytes:
    return _key(number, 0) + _varint(value)


def _bytes(number: int, value: bytes) -> bytes:
    return _key(number, 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # negative numbers are 64-bit two's complement
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
