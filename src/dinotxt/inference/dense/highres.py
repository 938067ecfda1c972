"""High-resolution inference (dino.txt, section 4.2): many crops, their features on one grid.

Crops of 1%, 10% and 100% of the picture's area are warped to squares and encoded; their features
are projected back to the pixels and averaged; k-means groups them; each group gets its label. A
convolutional backbone sees the whole picture once at the size of each crop instead (``scales``).
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinotxt.data.pictures import Picture, picture_size
from dinotxt.errors import ConfigError, require_torch
from dinotxt.inference.dense.crops import CropLevel, layout, quad_areas
from dinotxt.inference.dense.scales import scale_features
from dinotxt.inference.dense.scores import FeatureScores, Mode, Query, ScoreMap, cosines
from dinotxt.inference.encoder import Encoder
from dinotxt.inference.engines import ConvolutionalTowers
from dinotxt.inference.features import Features, unit
from dinotxt.inference.inputs import brighten, to_multiple, window_input

_MOST_NUMBERS = 1 << 28  # of the grid: 1 GiB of float32
_MOST_ROWS = 1 << 14  # that k-means iterates over
_LONGEST = 4096
_MAX_JITTER = 0.25  # from here on a quadrilateral may lose its shape
_TIMED_BATCHES = 3
_BACKBONE_SHARE = 0.9
_HELD_BYTES = 1 << 26  # of patches that are projected at once


@dataclass(frozen=True, slots=True, eq=False)
class SegmentScores:
    """Cosines of the segments of a picture.

    Attributes:
        segments: int32 ``[h, w]``, the segment of each place.
        values: float32 ``[S, C]``, the cosines of each segment.
    """

    segments: NDArray[np.int32]
    values: Features

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the segments."""
        return self.segments.shape[0], self.segments.shape[1]

    @property
    def num_texts(self) -> int:
        """The number of texts C."""
        return len(self.values[0])

    def rows(self, start: int, stop: int) -> Features:
        """Return ``[stop - start, w, C]``."""
        return self.values[self.segments[start:stop]]


@dataclass(frozen=True, slots=True)
class HighRes(Mode):
    """Many crops of several sizes, averaged on a fine grid and clustered.

    The result depends on the picture, the model and these settings alone. ``upsample`` is always
    ``logits``: features are interpolated from the crops to the grid, scores from it to the pixels.

    Attributes:
        crops: The budget: how many crops the model sees.
        seed: Of the crops' noise and of k-means.
        areas: Shares of the picture's area that crops have, ascending.
        shares: Weights of the areas in the number of crops. Crops too few to cover the picture
            once go to the next larger area.
        jitter: How far a crop's corners move at most, as a share of its side.
        crop_size: Side in pixels of the squares that crops become; rounded to the patch.
        grid_stride: Pixels between the places where features are averaged; larger for pictures
            whose grid would take more than 1 GiB.
        num_clusters: Groups of k-means; None compares each place by itself.
        normalize: Whether patch features get length 1 before they are averaged.
        feather: Whether patches count less towards the border of their crop.
        balance: Whether the sizes of crops count alike at each place; else all crops do.

    Raises:
        ConfigError: If a setting makes no sense.
    """

    crops: int = 800
    seed: int = 0
    areas: tuple[float, ...] = (0.01, 0.1, 1.0)
    shares: tuple[float, ...] = (0.775, 0.2, 0.025)
    jitter: float = 0.1
    crop_size: int = 224
    grid_stride: int = 2
    num_clusters: int | None = 32
    normalize: bool = True
    feather: bool = True
    balance: bool = True

    def __post_init__(self) -> None:
        """Check the values."""
        for name in ("crops", "crop_size", "grid_stride", "num_clusters"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"HighRes: {name} is {value}: give at least 1.")
        if self.seed < 0:
            raise ConfigError(f"HighRes: seed is {self.seed}: give 0 or more.")
        if not 0 <= self.jitter < _MAX_JITTER:
            raise ConfigError(f"HighRes: jitter is {self.jitter}: give 0 to below {_MAX_JITTER}.")
        if not self.areas or list(self.areas) != sorted(set(self.areas)):
            raise ConfigError(f"HighRes: areas are {self.areas}: give them in ascending order.")
        if self.areas[0] < 1e-4 or self.areas[-1] > 1:
            raise ConfigError(f"HighRes: areas are {self.areas}: give shares from 0.0001 to 1.")
        if len(self.shares) != len(self.areas) or min(self.shares) <= 0:
            raise ConfigError("HighRes: shares need one positive weight for each of the areas.")

    @property
    def visits(self) -> float:
        """How many crops see a pixel, on average."""
        return float(sum(quad_areas(level.quads).sum() for level in self._levels()))

    @property
    def input_side(self) -> int:
        """The side in pixels of the squares that crops become."""
        return self.crop_size

    def passes(self, picture: Picture) -> int:
        """Return the number of crops."""
        del picture
        return self.crops

    def settings(self, encoder: Encoder) -> dict[str, Any]:
        """Return what a report says of the mode, with the visits of a pixel."""
        return {**Mode.settings(self, encoder), "visits": round(self.visits, 2)}

    def score_map(self, query: Query, picture: Picture) -> ScoreMap:
        """Compare a picture with the texts of a query.

        Raises:
            ConfigError: If ``upsample`` is ``features``.
        """
        if query.upsample == "features":
            raise ConfigError("HighRes interpolates features by itself: leave upsample out.")
        return self.scores(self.features(query, picture), query.text)

    def scores(self, features: Features, text: Features) -> ScoreMap:
        """Cluster features ``[h, w, Dp]`` and compare the clusters with texts ``[C, Dp]``."""
        if self.num_clusters is None:
            return FeatureScores(features, text)
        segments, centroids = _cluster(features, self.num_clusters, self.seed)
        return SegmentScores(segments, cosines(centroids, text))

    def features(self, query: Query, picture: Picture, *, stride: int = 2) -> Features:
        """Return the mean feature of every cell of the grid, float32 ``[h, w, Dp]``.

        Args:
            query: The model, and how many crops a forward pass has.
            picture: An opened picture.
            stride: Not looked at: ``grid_stride`` holds.

        Raises:
            DataError: If the model gives features that are not finite.
        """
        del stride
        encoder = query.encoder
        height, width = self._grid_shape(picture, encoder.towers.patch_dim)
        side, _ = window_input(encoder.towers, self.crop_size, self.crop_size)
        across, down = picture_size(picture)
        levels = self._levels(across / down)
        if isinstance(encoder.towers, ConvolutionalTowers):
            patch = encoder.towers.patch_size
            return scale_features(
                query,
                ((level, _scaled(encoder, picture, level, side, patch)) for level in levels),
                (height, width),
                margin=encoder.towers.margin,
                normalize=self.normalize,
                balance=self.balance,
            )
        require_torch("The mode highres of this model", "take whole or window")
        from dinotxt.inference.dense.projection import FeatureGrid

        grid = FeatureGrid(height, width, encoder.towers.patch_dim, feather=self.feather)
        for level in levels:
            pixels = _scaled(encoder, picture, level, side)
            importance = grid.rarity(level.quads) if self.balance else None
            for quads, patches in self._encoded(query, pixels, level, side):
                grid.add(quads, patches, importance)
        return grid.mean()

    def _encoded(
        self, query: Query, pixels: Features, level: CropLevel, side: int
    ) -> Iterator[tuple[NDArray[np.float64], Features]]:
        """Yield crops and their patches, as many at once as 64 MiB hold; the next ones overwrite.

        The more there are, the less often the grid is read and written.
        """
        from dinotxt.inference.dense.projection import warp

        size = query.batch_size
        held, begin, count = np.empty(0, dtype=np.float32), 0, len(level.quads)
        for start in range(0, count, size):
            quads = level.quads[start : start + size]
            patches = query.encode_patches(warp(pixels, quads, side))
            if not start:
                most = max(1, _HELD_BYTES // patches.nbytes) * size
                held = np.empty((min(most, count), *patches.shape[1:]), dtype=np.float32)
            end = start + len(quads)
            held[start - begin : end - begin] = unit(patches) if self.normalize else patches
            if end - begin == len(held) or end == count:
                yield level.quads[begin:end], held[: end - begin]
                begin = end

    def _levels(self, aspect: float = 1.0) -> list[CropLevel]:
        return layout(
            self.crops,
            self.areas,
            self.shares,
            jitter=self.jitter,
            seed=self.seed,
            aspect=aspect,
        )

    def _grid_shape(self, picture: Picture, dim: int) -> tuple[int, int]:
        """Return the rows and columns of the grid: one cell every ``grid_stride`` pixels."""
        width, height = picture_size(picture)
        stride = max(self.grid_stride, math.sqrt(width * height * dim / _MOST_NUMBERS))
        return max(1, round(height / stride)), max(1, round(width / stride))


def crops_within(
    encoder: Encoder, seconds: float, mode: HighRes, *, batch_size: int = 8
) -> HighRes:
    """Return the mode with as many crops as the model encodes in some seconds a picture.

    The rate is measured now on noise; what comes of it is a number of crops, so the result of a
    run is repeated by giving that number.

    Raises:
        ConfigError: If the time is not positive.
    """
    if not 0 < seconds < math.inf:
        raise ConfigError(f"seconds is {seconds}: give a positive number.")
    side, _ = window_input(encoder.towers, mode.crop_size, mode.crop_size)
    shape = (batch_size, len(encoder.transform.config.mean), side, side)
    noise = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    encoder.towers.encode_patches(noise)
    start = time.perf_counter()
    for _ in range(_TIMED_BATCHES):
        encoder.towers.encode_patches(noise)
    rate = _TIMED_BATCHES * batch_size / (time.perf_counter() - start)
    return replace(mode, crops=max(1, int(_BACKBONE_SHARE * rate * seconds)))


def _scaled(
    encoder: Encoder, picture: Picture, level: CropLevel, side: int, multiple_of: int = 1
) -> Features:
    """Return the picture at the size at which a crop of the level has ``side`` pixels."""
    width, height = (
        to_multiple(min(math.ceil(side / share), _LONGEST), multiple_of)
        for share in (level.width, level.height)
    )
    resized = encoder.transform.resize(picture, (width, height))
    return encoder.transform.normalize(brighten(resized, encoder.defaults.brightness))


def _cluster(features: Features, k: int, seed: int) -> tuple[NDArray[np.int32], Features]:
    """Return the segment of each cell ``[h, w]`` and the centroids ``[k, Dp]``.

    k-means iterates over an even sample of the cells and is imported here, for it needs torch.
    """
    import torch

    from dinotxt.cluster import Lloyd, kmeans

    height, width, dim = features.shape
    cells = features.reshape(-1, dim)
    step = math.ceil(math.sqrt(len(cells) / _MOST_ROWS))
    even = torch.from_numpy(features)[step // 2 :: step, step // 2 :: step]
    sample = even.reshape(-1, dim).numpy()  # aligned as torch aligns, which saves copies
    rows = sample if len(sample) >= k else cells
    lloyd = Lloyd(iterations=20, tolerance=1e-3)
    clustering = kmeans(rows, min(k, len(rows)), seed=seed, lloyd=lloyd)
    return clustering.predict(cells).reshape(height, width), clustering.centroids
