"""Maps of how well each place of a picture fits each text, computed a few rows at a time.

A map is never held as a whole at the picture's size: for a 30-megapixel picture and many labels
it would not fit. Whoever reads it asks for rows.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, is_dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from dinotxt.data.pictures import Picture, picture_size
from dinotxt.errors import ConfigError
from dinotxt.inference.decoding import check_finite
from dinotxt.inference.dense.affinity import smooth
from dinotxt.inference.encoder import Encoder
from dinotxt.inference.engines import FrozenTowers
from dinotxt.inference.features import Features, unit
from dinotxt.inference.inputs import Window

Upsample = Literal["logits", "features"]
Refine = Literal["affinity", "pamr", "both"]
_TILE_NUMBERS = 1 << 23  # 32 MiB of float32


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """Bilinear interpolation along one axis, with half-pixel centres (``align_corners=False``).

    Each output position takes its value from two inputs.

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


class ScoreMap(Protocol):
    """Cosines between the places of a picture and some texts."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns, ``(h, w)``; the picture may have more."""

    @property
    def num_texts(self) -> int:
        """The number of texts C."""

    def rows(self, start: int, stop: int) -> Features:
        """Return the cosines of rows ``start`` to ``stop``, float32 ``[stop - start, w, C]``."""


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """A model, and the texts that the places of a picture are compared with.

    Attributes:
        encoder: The model.
        text: float32 ``[C, Dp]`` of length 1.
        upsample: What is enlarged to pixels.
        batch_size: Windows or crops a forward pass.
        affinity: Temperature of the refinement by the backbone's own similarity; None: none.
        on_pass: Told before each forward pass how many inputs it has; what it raises ends the
            work.
    """

    encoder: Encoder
    text: Features
    upsample: Upsample = "logits"
    batch_size: int = 8
    affinity: float | None = None
    on_pass: Callable[[int], None] = lambda _: None

    def encode_patches(self, pixels: Features) -> Features:
        """Return the patches ``[B, h, w, Dp]`` of normalised pixels ``[B, C, H, W]``.

        Raises:
            ConfigError: If there is an ``affinity``, but no frozen patches.
            DataError: If they are not finite.
        """
        self.on_pass(len(pixels))
        towers = self.encoder.towers
        if self.affinity is None:
            return check_finite(towers.encode_patches(pixels))
        if not isinstance(towers, FrozenTowers):
            message = f"{self.encoder.name} gives no frozen patches, which affinity needs"
            raise ConfigError(f"{message}: use the model itself, or leave it out.")
        patches, frozen = towers.encode_patches_beside(pixels)
        return smooth(check_finite(patches), check_finite(frozen), self.affinity)


class Mode(Protocol):
    """A way to look at a picture: as a whole, in windows, or any other."""

    __slots__ = ()

    @property
    def input_side(self) -> int | None:
        """The side in pixels of what the model sees, where the mode fixes it."""
        return None

    def score_map(self, query: Query, picture: Picture) -> ScoreMap:
        """Compare a picture with the texts of a query."""

    def passes(self, picture: Picture) -> int:
        """Return how many inputs the model sees of a picture."""
        del picture
        return 1

    def settings(self, encoder: Encoder) -> dict[str, Any]:
        """Return what a report says of the mode when a model runs it, in plain types."""
        own: dict[str, Any] = asdict(self) if is_dataclass(self) else {}
        name = type(self).__name__
        return {"mode": name, **own, "brightness": encoder.defaults.brightness}

    def features(self, query: Query, picture: Picture, *, stride: int = 8) -> Features:
        """Return the mean feature of every cell of a grid, ``[h, w, Dp]``.

        Args:
            query: The model.
            picture: An opened picture.
            stride: Pixels between cells; a mode with a grid of its own keeps to that.
        """
        from dinotxt.inference.dense.projection import FeatureGrid

        scores = self.score_map(replace(query, upsample="features"), picture)
        assert isinstance(scores, WindowScores), "modes without a grid look through windows"
        width, height = picture_size(picture)
        rows, columns = max(1, round(height / stride)), max(1, round(width / stride))
        grid = FeatureGrid(rows, columns, scores.features.shape[-1])
        grid.add(scores.quads(), unit(scores.features))
        return grid.mean()

    def scores(self, features: Features, text: Features) -> ScoreMap:
        """Compare the features of a grid, ``[h, w, Dp]``, with texts ``[C, Dp]``."""
        return FeatureScores(features, text)


@dataclass(frozen=True, slots=True, eq=False)
class GridScores:
    """Cosines on one grid.

    Attributes:
        values: float32 ``[h, w, C]``.
    """

    values: Features

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the grid."""
        return len(self.values), len(self.values[0])

    @property
    def num_texts(self) -> int:
        """The number of texts C."""
        return len(self.values[0, 0])

    def rows(self, start: int, stop: int) -> Features:
        """Return ``values[start:stop]``."""
        return self.values[start:stop]


@dataclass(frozen=True, slots=True, eq=False)
class FeatureScores:
    """Cosines of a grid of features, computed when they are read.

    Attributes:
        features: float32 ``[h, w, Dp]``.
        text: float32 ``[C, Dp]`` of length 1.
    """

    features: Features
    text: Features

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the grid."""
        return self.features.shape[0], self.features.shape[1]

    @property
    def num_texts(self) -> int:
        """The number of texts C."""
        return len(self.text)

    def rows(self, start: int, stop: int) -> Features:
        """Return ``[stop - start, w, C]``."""
        return cosines(self.features[start:stop], self.text)


@dataclass(frozen=True, slots=True, eq=False)
class WindowScores:
    """Cosines of windows that may overlap, enlarged to pixels and averaged where they do.

    Attributes:
        shape: Rows and columns of the picture that the windows lie in.
        windows: Where each one lies.
        features: float32 ``[W, gh, gw, Dp]``, the patches of each window.
        text: float32 ``[C, Dp]`` of length 1.
        upsample: What is enlarged: the cosines of the patches (``logits``), or the patches'
            features before the comparison (``features``).
    """

    shape: tuple[int, int]
    windows: Sequence[Window]
    features: Features
    text: Features
    upsample: Upsample

    @property
    def num_texts(self) -> int:
        """The number of texts C."""
        return len(self.text)

    def rows(self, start: int, stop: int) -> Features:
        """Return the mean over the windows that see each pixel, ``[stop - start, w, C]``."""
        width = self.shape[1]
        total = np.zeros((stop - start, width, len(self.text)), dtype=np.float32)
        visits = np.zeros((stop - start, width, 1), dtype=np.float32)
        for window, patches in zip(self.windows, self.features, strict=True):
            first = max(start, window.top)
            last = min(stop, window.top + window.height)
            if first >= last:
                continue
            here = np.s_[first - start : last - start, window.left : window.left + window.width]
            total[here] += self._window_rows(window, patches, first, last)
            visits[here] += 1
        total /= visits
        return total

    def quads(self) -> NDArray[np.float64]:
        """Return the corners of the windows as shares of the picture's sides, ``[W, 4, 2]``."""
        height, width = self.shape
        quads = []
        for window in self.windows:
            left, right = window.left / width, (window.left + window.width) / width
            top, bottom = window.top / height, (window.top + window.height) / height
            quads.append([(left, top), (right, top), (right, bottom), (left, bottom)])
        return np.array(quads, dtype=np.float64)

    def _window_rows(self, window: Window, patches: Features, first: int, last: int) -> Features:
        grid_height, grid_width, _ = patches.shape
        down = Axis.between(grid_height, window.height)
        across = Axis.between(grid_width, window.width)
        begin, end = first - window.top, last - window.top
        low, high = down.span(begin, end)
        values = patches[low:high]
        if self.upsample == "logits":
            values = cosines(values, self.text)
        values = across.apply(down.part(begin, end).apply(values, axis=0), axis=1)
        return values if self.upsample == "logits" else cosines(values, self.text)


def cosines(features: Features, text: Features) -> Features:
    """Return ``[..., C]`` for features ``[..., Dp]`` and texts ``[C, Dp]`` of length 1."""
    return np.asarray(unit(features) @ text.T, dtype=np.float32)


def label_rows(
    scores: ScoreMap, num_labels: int, height: int, width: int, start: int, stop: int
) -> tuple[NDArray[np.uint16], Features]:
    """Return the best label and its cosine for some rows of the picture.

    Args:
        scores: The map, enlarged bilinearly to the picture.
        num_labels: Only the first texts compete.
        height: Rows of the picture.
        width: Columns of the picture.
        start: First row.
        stop: Row after the last one.

    Returns:
        Two arrays ``[stop - start, width]``. Among equal cosines the first label wins.
    """
    down, across = Axis.between(scores.shape[0], height), Axis.between(scores.shape[1], width)
    low, high = down.span(start, stop)
    block = np.ascontiguousarray(scores.rows(low, high)[..., :num_labels].transpose(2, 0, 1))
    down = down.part(start, stop)
    best = across.apply(down.apply(block[0], axis=0), axis=1).copy()
    labels = np.zeros(best.shape, dtype=np.uint16)
    for label in range(1, num_labels):
        value = across.apply(down.apply(block[label], axis=0), axis=1)
        better = value > best
        np.copyto(labels, np.uint16(label), where=better)
        np.copyto(best, value, where=better)
    return labels, best


def label_tiles(
    scores: ScoreMap, num_labels: int, height: int, width: int
) -> Iterator[tuple[slice, NDArray[np.uint16], Features]]:
    """Yield the rows of the picture piece by piece, with their ``label_rows``."""
    step = tile_rows(scores, height, width)
    for start in range(0, height, step):
        stop = min(start + step, height)
        yield slice(start, stop), *label_rows(scores, num_labels, height, width, start, stop)


def tile_rows(scores: ScoreMap, height: int, width: int) -> int:
    """Return how many rows of the picture may be read at once, in numbers of 32 MiB."""
    by_picture = _TILE_NUMBERS // (4 * width)
    source_rows = _TILE_NUMBERS / (scores.shape[1] * scores.num_texts) - 2
    return max(1, min(by_picture, int(source_rows * height / scores.shape[0])))
