"""Random numbers that are a pure function of (seed, epoch, item): one splitmix64 hash an item.

No state, no order: any worker on any machine draws the same number for the same item.
Source of the mixing constants: Steele, Lea, Flood 2014, "Fast splittable pseudorandom number
generators".
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

_GOLDEN = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_MASK = (1 << 64) - 1
_CHUNK = 1 << 15


def uniform(seed: int, epoch: int, ids: ArrayLike, stream: int = 0) -> NDArray[np.float64]:
    """Draw one number in [0, 1) an id, with 53 random bits.

    Args:
        seed: The seed of the run.
        epoch: The epoch.
        ids: Non-negative ids, any shape.
        stream: Another stream is another, independent draw of the same id.
    """
    bits = _hash(seed, epoch, ids, stream) >> np.uint64(11)
    return bits.astype(np.float64) * np.float64(2.0**-53)


def uniforms(
    seed: int, epoch: int, ids: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw two numbers in [0, 1) an id, for its text and its image: the halves of one hash."""
    bits = _hash(seed, epoch, ids, 0)
    text, image = bits >> np.uint64(32), bits & np.uint64(0xFFFFFFFF)
    scale = np.float64(2.0**-32)
    return text.astype(np.float64) * scale, image.astype(np.float64) * scale


def _hash(seed: int, epoch: int, ids: ArrayLike, stream: int) -> NDArray[np.uint64]:
    key = 0
    for part in (seed, epoch, stream):
        key = _mix_integer((key + _GOLDEN + part) & _MASK)
    # Counter mode: the state of item i is key + (i + 1) * golden, as in sequential splitmix64.
    mixed = np.array(ids, dtype=np.uint64, order="C")
    flat = mixed.reshape(-1)
    scratch = np.empty(min(flat.size, _CHUNK), dtype=np.uint64)
    for start in range(0, flat.size, _CHUNK):
        chunk = flat[start : start + _CHUNK]
        _mix(chunk, scratch[: chunk.size], (key + _GOLDEN) & _MASK)
    return mixed


def _mix(state: NDArray[np.uint64], scratch: NDArray[np.uint64], key: int) -> None:
    """Mix a chunk that fits the cache, in place."""
    state *= np.uint64(_GOLDEN)
    state += np.uint64(key)
    for shift, factor in ((30, _FIRST), (27, _SECOND)):
        np.right_shift(state, np.uint64(shift), out=scratch)
        state ^= scratch
        state *= np.uint64(factor)
    np.right_shift(state, np.uint64(31), out=scratch)
    state ^= scratch


def _mix_integer(state: int) -> int:
    state = ((state ^ (state >> 30)) * _FIRST) & _MASK
    state = ((state ^ (state >> 27)) * _SECOND) & _MASK
    return state ^ (state >> 31)
