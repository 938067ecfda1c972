"""Bilinear interpolation along one axis, with half-pixel centres (``align_corners=False``)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """Where each output position of an axis takes its value from.

    Attributes:
        low: int64 ``[n]``, the input position before it.
        high: int64 ``[n]``, the input position after it.
        weight: float32 ``[n]``, the share of ``high``.
    """

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    weight: NDArray[np.float32]

    @classmethod
    def between(cls, num_in: int, num_out: int) -> "Axis":
        """Map ``num_in`` positions to ``num_out``; beyond the outer centres the edge holds."""
        centres = (np.arange(num_out) + 0.5) * (num_in / num_out) - 0.5
        centres = np.clip(centres, 0.0, num_in - 1.0)
        low = np.floor(centres).astype(np.int64)
        high = np.minimum(low + 1, num_in - 1)
        return cls(low, high, (centres - low).astype(np.float32))

    def part(self, start: int, stop: int) -> "Axis":
        """Return output positions ``start`` to ``stop``; inputs count from that of ``span``."""
        low, high = self.low[start:stop], self.high[start:stop]
        return Axis(low - low[0], high - low[0], self.weight[start:stop])

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """Return the range of inputs that output positions ``start`` to ``stop`` need."""
        return int(self.low[start]), int(self.high[stop - 1]) + 1

    def apply(self, values: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
        """Interpolate an array along one of its axes."""
        if not self.weight.any() and len(self.low) == values.shape[axis]:
            return values
        shape = [1] * values.ndim
        shape[axis] = len(self.weight)
        before = values.take(self.low, axis=axis)
        out = values.take(self.high, axis=axis)
        out -= before
        out *= self.weight.reshape(shape)
        out += before
        return out
