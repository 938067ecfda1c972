"""Figures: principal components (paper, Figure 2), clusters (Figure 4), models side by side."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dinotxt.errors import ConfigError, DataError
from dinotxt.results.overlay import Entry, add_legend
from dinotxt.results.palette import palette
from dinotxt.results.segmentation import Segmentation

_LONGEST = 1024  # of one panel
_LETTERS_ACROSS = 75
LEGEND_LETTERS = 90  # smaller than the titles, and still read when fitted to a page
_GAP, _PAPER, _INK = 12, (255, 255, 255), (28, 30, 34)
_PERCENTILES = (1, 99)


def pca_picture(features: NDArray[np.floating], size: tuple[int, int] | None = None) -> Image.Image:
    """Show patch features by their first three principal components (paper, Figure 2).

    Like patches have like colours. Each component is stretched from its 1st to its 99th
    percentile; its sign is such that its largest loading is positive, so that the same features
    always give the same picture.

    Args:
        features: ``[h, w, D]``.
        size: Width and height of the result, which is enlarged smoothly; None: one pixel a patch.

    Raises:
        DataError: If a feature is NaN or infinite, or there are none.
    """
    if features.ndim != 3 or not features.size:
        raise DataError(f"Features must be [h, w, D] and not empty, got {list(features.shape)}.")
    if not np.isfinite(features).all():
        raise DataError("Some features are NaN or infinite: the model's weights are damaged.")
    height, width, dim = features.shape
    cells = features.reshape(-1, dim).astype(np.float64)
    cells -= cells.mean(axis=0)
    _, vectors = np.linalg.eigh(cells.T @ cells)
    axes = vectors[:, ::-1][:, :3]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    projected = np.zeros((len(cells), 3))
    projected[:, : axes.shape[1]] = cells @ axes
    low, high = np.percentile(projected, _PERCENTILES, axis=0)
    scale = np.where(high - low > 1e-9, high - low, 1)
    colours = np.clip((projected - low) / scale, 0, 1).reshape(height, width, 3)
    picture = Image.fromarray(np.rint(colours * 255).astype(np.uint8))
    return picture if size is None else picture.resize(size, Image.Resampling.BICUBIC)


def cluster_picture(
    clusters: NDArray[np.integer], size: tuple[int, int] | None = None
) -> Image.Image:
    """Show the clusters ``[h, w]`` of a picture, one colour each, at ``size`` (width, height)."""
    _, numbers = np.unique(clusters, return_inverse=True)
    numbers = numbers.reshape(clusters.shape)
    picture = Image.fromarray(palette(int(numbers.max()) + 1)[numbers])
    return picture if size is None else picture.resize(size, Image.Resampling.NEAREST)


def side_by_side(panels: Sequence[tuple[str, Image.Image]]) -> Image.Image:
    """Put pictures beside each other, each under its title.

    Args:
        panels: Titles and pictures; all get the height of the first, at most 1024 on its long
            side.
    """
    first = panels[0][1]
    height = round(first.height * min(1.0, _LONGEST / max(first.size)))
    pictures = [_to_height(picture.convert("RGB"), height) for _, picture in panels]
    width = sum(picture.width for picture in pictures) + _GAP * (len(pictures) - 1)
    size = max(14, height // 24, width // _LETTERS_ACROSS)  # still read when fitted to a page
    font = ImageFont.load_default(size)
    strip = round(font.size * 1.8) if isinstance(font, ImageFont.FreeTypeFont) else 24
    canvas = Image.new("RGB", (width, strip + max(one.height for one in pictures)), _PAPER)
    draw, left = ImageDraw.Draw(canvas), 0
    for (title, _), picture in zip(panels, pictures, strict=True):
        canvas.paste(picture, (left, strip))
        middle = (left + picture.width // 2, strip // 2)
        draw.text(middle, _shortened(title, font, picture.width), _INK, font, anchor="mm")
        left += picture.width + _GAP
    return canvas


def cluster_figure(result: Segmentation) -> Image.Image:
    """Show a picture, its clusters and their labels side by side (paper, Figure 4).

    Args:
        result: Of a mode that makes clusters, such as ``HighRes``.

    Raises:
        ConfigError: If the result has no clusters.
    """
    if result.clusters is None:
        raise ConfigError("This result has no clusters: segment with the mode HighRes.")
    picture = result.decode(None)
    clusters = cluster_picture(result.clusters, picture.size)
    panels = [("image", picture), ("clusters", clusters), ("labels", result.colour_map())]
    return add_legend(side_by_side(panels), result.entries(), letters=LEGEND_LETTERS)


def comparison(results: Sequence[tuple[str, Segmentation]]) -> Image.Image:
    """Show a picture and what several models make of it, under one legend.

    Args:
        results: The models' names and results, for the same picture and labels.

    Raises:
        DataError: If the results are for different labels or pictures.
    """
    if len({result.labels for _, result in results}) != 1:
        raise DataError("Only results for the same labels can be compared: segment again.")
    picture = results[0][1].decode(None)
    panels = [("image", picture)]
    panels += [(name, result.overlay(opacity=0.7, legend=False)) for name, result in results]
    seen: dict[str, Entry] = {}
    for entry in sorted((entry for _, one in results for entry in one.entries()), key=_by_share):
        seen.setdefault(entry.text, Entry(entry.text, entry.colour, None))
    return add_legend(side_by_side(panels), list(seen.values()), letters=LEGEND_LETTERS)


def _by_share(entry: Entry) -> float:
    return -(entry.share or 0)


def _to_height(picture: Image.Image, height: int) -> Image.Image:
    if picture.height == height:
        return picture
    width = max(1, round(picture.width * height / picture.height))
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: float) -> str:
    while len(text) > 1 and font.getlength(text) > room:
        text = f"{text[:-2].rstrip('.')}."
    return text
