"""Colours for label maps: the same for the same position, and far apart to the eye.

The first twelve are chosen by hand. Each further one is the colour whose smallest distance to
those before it is the largest, in OKLab (Ottosson, 2020), where distances follow what people see.

Data sets have palettes of their own, by the position of a class: those that ADE20K, Cityscapes and
CamVid publish, the colour map of PASCAL VOC, and ADE20K's from its second colour on for Context59,
as mmsegmentation has it. COCO-Stuff's repeats colours, so the usual one stands in for it.
"""

from functools import lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from dinotxt.errors import ConfigError

DATASET_PALETTES = ("ade20k", "camvid", "cityscapes", "context59", "voc20")
UNLABELLED_COLOUR = (128, 128, 128)
_FIRST = (
    (46, 134, 222),  # blue
    (245, 146, 30),  # orange
    (62, 168, 92),  # green
    (226, 68, 70),  # red
    (142, 92, 200),  # purple
    (250, 208, 60),  # yellow
    (28, 178, 170),  # teal
    (238, 120, 180),  # pink
    (156, 104, 66),  # brown
    (164, 204, 58),  # lime
    (130, 200, 240),  # sky
    (176, 40, 120),  # plum
)
_LEVELS = 17  # steps on each axis of the RGB cube: 4,913 candidates
_LIGHTNESS = (0.52, 0.90)
_CHROMA = (0.08, 0.23)
_LIGHTNESS_WEIGHT = 0.7  # hue tells regions apart better than lightness does over a photo


@lru_cache(maxsize=32)
def _palette(num_colours: int) -> NDArray[np.uint8]:
    candidates, positions = _candidates()
    chosen = np.empty((max(num_colours, len(_FIRST)), 3), dtype=np.uint8)
    chosen[: len(_FIRST)] = _FIRST
    distance = np.full(len(candidates), np.inf)
    for first in _position(chosen[: len(_FIRST)]):
        np.minimum(distance, _squared(positions, first), out=distance)
    for index in range(len(_FIRST), num_colours):
        best = int(np.argmax(distance))
        if distance[best] == 0:  # every candidate is taken: start over
            chosen[index:] = np.resize(chosen[:index], (num_colours - index, 3))
            break
        chosen[index] = candidates[best]
        np.minimum(distance, _squared(positions, positions[best]), out=distance)
    chosen.setflags(write=False)
    return chosen


def palette(num_colours: int) -> NDArray[np.uint8]:
    """Return ``[num_colours, 3]`` RGB colours; a longer palette starts with the shorter one."""
    return _palette(num_colours)[:num_colours]


def dataset_palette(name: str, num_colours: int) -> NDArray[np.uint8]:
    """Return the first colours of a data set's palette, ``[num_colours, 3]``.

    Raises:
        ConfigError: If the palette is unknown or has fewer colours.
    """
    if name not in DATASET_PALETTES:
        raise ConfigError(f"palette is {name!r}: choose from {', '.join(DATASET_PALETTES)}.")
    colours = _published(name)
    if num_colours > len(colours):
        message = f"The palette {name} has {len(colours)} colours for {num_colours} labels"
        raise ConfigError(f"{message}: it goes with the classes of {name}, in their order.")
    return colours[:num_colours]


@lru_cache(maxsize=8)
def _published(name: str) -> NDArray[np.uint8]:
    if name == "voc20":
        colours = np.array([_voc_colour(index) for index in range(1, 21)], dtype=np.uint8)
    else:
        source = "ade20k" if name == "context59" else name
        text = files("dinotxt.results").joinpath("palettes", f"{source}.txt").read_text("ascii")
        colours = np.array([list(bytes.fromhex(line)) for line in text.split()], dtype=np.uint8)
    if name == "context59":
        colours = colours[1:60]
    colours.setflags(write=False)
    return colours


def _voc_colour(index: int) -> tuple[int, int, int]:
    """Spread the bits of an index over the channels, high bits first, as VOC's devkit does."""
    channels = [0, 0, 0]
    for place in range(8):
        for channel in range(3):
            channels[channel] |= (index >> (3 * place + channel) & 1) << (7 - place)
    return channels[0], channels[1], channels[2]


def _candidates() -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    axis = np.linspace(0, 255, _LEVELS).round().astype(np.uint8)
    colours = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    positions = _position(colours)
    lightness = positions[:, 0] / _LIGHTNESS_WEIGHT
    chroma = np.hypot(positions[:, 1], positions[:, 2])
    kept = _within(lightness, _LIGHTNESS) & _within(chroma, _CHROMA)
    return colours[kept], positions[kept]


def _position(colours: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return ``[N, 3]`` OKLab coordinates, with the lightness scaled, of sRGB colours."""
    srgb = colours / 255.0
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    to_cone = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    to_lab = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    lab = np.cbrt(linear @ to_cone.T) @ to_lab.T
    return np.asarray(lab * [_LIGHTNESS_WEIGHT, 1.0, 1.0], dtype=np.float64)


def _within(values: NDArray[np.float64], bounds: tuple[float, float]) -> NDArray[np.bool_]:
    return (values >= bounds[0]) & (values <= bounds[1])


def _squared(positions: NDArray[np.float64], point: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(((positions - point) ** 2).sum(axis=1), dtype=np.float64)
