"""Batches of pixels from pictures, decoded while the model works on the batch before."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dinotxt.data.pictures import ImageSource, Stored
from dinotxt.data.prefetch import prefetch
from dinotxt.errors import DataError
from dinotxt.results.skip import OnSkip, Skip

Item = TypeVar("Item")
_NOT_FINITE = "The model gave features that are not finite: its weights are damaged."
_BATCHES_AHEAD = 2


@dataclass(frozen=True, slots=True, eq=False)
class PixelBatch:
    """Pictures of one size.

    Attributes:
        indices: int64 ``[B]``, their positions in the input.
        pixels: float32 ``[B, C, H, W]``, or whatever the loader gives, stacked.
        names: What reports call them.
    """

    indices: NDArray[np.int64]
    pixels: NDArray[np.float32]
    names: tuple[str, ...] = ()

    def encoded(
        self, features: NDArray[np.float32], on_skip: OnSkip | None
    ) -> "Iterator[EncodedImages]":
        """Yield the features, unless none is usable: those that are not finite are reported.

        Raises:
            DataError: If there are such ones and ``on_skip`` is None.
        """
        finite = np.isfinite(features).all(axis=1)
        for row in np.flatnonzero(~finite):
            _report(Skip(self.names[row], _NOT_FINITE), on_skip)
        if finite.any():
            yield EncodedImages(self.indices[finite], features[finite])


@dataclass(frozen=True, slots=True, eq=False)
class EncodedImages:
    """The features of some of the pictures of a stream.

    Attributes:
        indices: int64 ``[B]``, the pictures' positions in the input.
        features: float32 ``[B, E]``.
    """

    indices: NDArray[np.int64]
    features: NDArray[np.float32]


def pixel_batches(
    items: Iterable[Item],
    load: Callable[[Item], NDArray[np.float32]],
    *,
    name: Callable[[Item], str],
    batch_size: int,
    num_workers: int | None = None,
    on_skip: OnSkip | None = None,
) -> Iterator[PixelBatch]:
    """Yield batches in the order of the input; at most two batches are read ahead.

    Args:
        items: Pictures; taken from the iterable as they are needed.
        load: Opens one picture and makes it an array.
        name: What a report calls a picture.
        batch_size: The most pictures in a batch; a picture of another size starts a new one.
        num_workers: Threads that decode; 0 decodes in the calling one, None takes one a core.
        on_skip: Told of each picture that cannot be used; None raises instead.

    Raises:
        DataError: If a picture cannot be used and ``on_skip`` is None.
    """
    indices: list[int] = []
    pixels: list[NDArray[np.float32]] = []
    names: list[str] = []
    outcomes = prefetch(
        lambda item: _attempt(item, load, name),
        items,
        num_workers=num_workers,
        ahead=_BATCHES_AHEAD * batch_size,
    )
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, Skip):
            _report(outcome, on_skip)
            continue
        called, loaded = outcome
        if len(pixels) == batch_size or (pixels and pixels[0].shape != loaded.shape):
            yield PixelBatch(np.array(indices, dtype=np.int64), np.stack(pixels), tuple(names))
            indices, pixels, names = [], [], []
        indices.append(index)
        pixels.append(loaded)
        names.append(called)
    if pixels:
        yield PixelBatch(np.array(indices, dtype=np.int64), np.stack(pixels), tuple(names))


def check_finite(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pass features on.

    Raises:
        DataError: If they hold NaN or infinity.
    """
    if not np.isfinite(features).all():
        raise DataError(_NOT_FINITE)
    return features


def listed(sources: ImageSource | Sequence[ImageSource]) -> Sequence[ImageSource]:
    """Return a sequence also for a single picture."""
    if isinstance(sources, str | Path | bytes | Image.Image | Stored):
        return [sources]
    if isinstance(sources, np.ndarray) and sources.ndim < 4:
        return [sources]
    return list(sources)


def _attempt(
    item: Item, load: Callable[[Item], NDArray[np.float32]], name: Callable[[Item], str]
) -> tuple[str, NDArray[np.float32]] | Skip:
    called = name(item)
    try:
        return called, load(item)
    except DataError as error:
        return Skip(called, str(error))


def _report(skip: Skip, on_skip: OnSkip | None) -> None:
    if on_skip is None:
        raise DataError(skip.reason)
    on_skip(skip)
