"""A picture beside its label maps, with captions and one legend."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dinotxt.data.pictures import Picture, as_image
from dinotxt.results.figures import LEGEND_LETTERS
from dinotxt.results.overlay import Entry, add_legend, blend
from dinotxt.results.palette import (
    DATASET_PALETTES,
    UNLABELLED_COLOUR,
    dataset_palette,
    palette,
)

IndexMap = NDArray[np.integer[Any]]
_OPACITY = 0.6
_GAP = 6
_WIDTH = 480  # of a panel: pictures are made smaller, never larger
_SMALLEST_FONT = 15
_INK = (28, 30, 34)


def draw_panels(
    picture: Picture,
    maps: Mapping[str, IndexMap],
    labels: Sequence[str],
    dataset: str | None = None,
) -> Image.Image:
    """Draw a picture and its label maps in a row.

    Args:
        picture: Opened.
        maps: ``[H, W]`` by caption; values that are no label are grey.
        labels: What the values stand for; the legend shows those that occur in the first map,
            with their share of it, and then the others.
        dataset: The name of the published set that the labels are of; its palette is taken.
    """
    published = dataset in DATASET_PALETTES
    chosen = dataset_palette(str(dataset), len(labels)) if published else palette(len(labels))
    colours = np.concatenate([chosen, np.array([UNLABELLED_COLOUR], np.uint8)])
    plain = as_image(picture)
    panels = {"picture": plain}
    for caption, label_map in maps.items():
        known = np.where((label_map >= 0) & (label_map < len(labels)), label_map, len(labels))
        panels[caption] = Image.fromarray(blend(np.asarray(plain), known, colours, _OPACITY))
    entries = _entries(list(maps.values()), labels, colours)
    return add_legend(_row(panels), entries, letters=LEGEND_LETTERS)


def _row(panels: Mapping[str, Image.Image]) -> Image.Image:
    small = {caption: _shrunk(panel) for caption, panel in panels.items()}
    width = sum(panel.width for panel in small.values()) + _GAP * (len(small) - 1)
    letter = max(_SMALLEST_FONT, round(width / LEGEND_LETTERS))  # as large as the legend's
    strip = round(1.6 * letter)
    canvas = Image.new(
        "RGB", (width, strip + max(panel.height for panel in small.values())), "white"
    )
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(letter)
    left = 0
    for caption, panel in small.items():
        draw.text((left + 2, strip // 2), caption, _INK, font, anchor="lm")
        canvas.paste(panel, (left, strip))
        left += panel.width + _GAP
    return canvas


def _shrunk(panel: Image.Image) -> Image.Image:
    if panel.width <= _WIDTH:
        return panel
    height = max(1, round(panel.height * _WIDTH / panel.width))
    return panel.resize((_WIDTH, height), Image.Resampling.LANCZOS)


def _entries(
    maps: Sequence[NDArray[np.integer]], labels: Sequence[str], colours: NDArray[np.uint8]
) -> list[Entry]:
    first = np.bincount(maps[0].clip(0, len(labels)).ravel(), minlength=len(labels) + 1)
    present = np.unique(np.concatenate([one.clip(0, len(labels)).ravel() for one in maps]))
    shares = first / max(first.sum(), 1)
    order = sorted(present[present < len(labels)].tolist(), key=lambda label: -shares[label])
    return [Entry.of(labels[label], colours[label], float(shares[label])) for label in order]
