"""A label map as PNG and as run lengths."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dinotxt.results.palette import UNLABELLED_COLOUR, palette
from dinotxt.results.segmentation import Segmentation
from dinotxt.serving.pictures import to_png


def label_map_png(segmentation: Segmentation) -> bytes:
    """Return the map as PNG: 8 bits with a palette, or 16-bit grey from 256 labels.

    A pixel holds the position of its label, the largest value (255 or 65535) if it has none.
    """
    picture = Image.fromarray(segmentation.label_map)
    if segmentation.label_map.dtype == np.uint8:
        table = np.zeros((256, 3), dtype=np.uint8)
        table[: len(segmentation.labels)] = palette(len(segmentation.labels))
        table[segmentation.unlabelled] = UNLABELLED_COLOUR
        picture.putpalette(table.ravel().tolist())
    return to_png(picture)


def run_lengths(segmentation: Segmentation) -> Iterator[list[int]]:
    """Yield the mask of each label as COCO's uncompressed counts.

    Pixels are taken column by column; counts alternate between outside and inside, outside first.
    """
    columns = segmentation.label_map.ravel(order="F")
    starts = np.flatnonzero(np.concatenate([[True], columns[1:] != columns[:-1]]))
    stops = np.append(starts[1:], columns.size)
    values = columns[starts]
    for position in range(len(segmentation.labels)):
        mine = values == position
        yield _counts(starts[mine], stops[mine], columns.size)


def hex_colours(num_labels: int) -> list[str]:
    """Return the colour of each label as ``#rrggbb``."""
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in palette(num_labels).tolist()]


def _counts(starts: NDArray[np.int64], stops: NDArray[np.int64], total: int) -> list[int]:
    edges = np.empty(2 * len(starts) + 2, dtype=np.int64)
    edges[0], edges[-1] = 0, total
    edges[1:-1:2], edges[2:-1:2] = starts, stops
    counts: list[int] = np.diff(edges).tolist()
    return counts[:-1] if counts[-1] == 0 and len(starts) else counts
