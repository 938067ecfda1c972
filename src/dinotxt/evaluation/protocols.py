"""Two published segmentation protocols without mmseg: TCL's, and the notebook of DINOv3.

What a source leaves open is inferred and marked so. The steps after the windows (averaging where
they overlap, bilinear enlargement of the mean to the picture, argmax) are the segmenter's own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from PIL import Image

from dinotxt.data.pictures import Picture, picture_size
from dinotxt.errors import ConfigError
from dinotxt.inference.dense import Axis, Mode, Query, ScoreMap, WindowScores, encode_windows
from dinotxt.inference.encoder import Encoder
from dinotxt.inference.features import Averaging, Features
from dinotxt.inference.inputs import Window, scaled_size, windows
from dinotxt.models.config import Embedding

Protocol = Literal["tcl", "dinov3"]
TEMPLATES: Mapping[Protocol, str] = {"tcl": "tcl-9", "dinov3": "openai-80"}
AVERAGING: Mapping[Protocol | None, Averaging] = {None: "unit", "tcl": "plain", "dinov3": "patch"}


@dataclass(frozen=True, slots=True)
class TclWindows(Mode):
    """The sliding test of TCL (section 4 there, mmsegmentation 0.27).

    The short side becomes 448, unless the long one would pass 2048, by bilinear interpolation
    without antialiasing on bytes (OpenCV's, to one level); windows of 448 every 224 pixels, the
    last ones shifted inwards. Inferred: a window that the patch does not divide (only where the
    aspect is beyond 4.57, or for a patch that does not divide 448) is stretched, where TCL pads.
    """

    size: int = 448
    stride: int = 224

    @property
    def input_side(self) -> int:
        """The side of a window."""
        return self.size

    def passes(self, picture: Picture) -> int:
        """Return the number of windows."""
        return len(windows(*scaled_size(picture, self.size), self.size, self.stride))

    def settings(self, encoder: Encoder) -> dict[str, Any]:
        """Return what a report says of the mode: it brightens nothing."""
        return {**Mode.settings(self, encoder), "brightness": None}

    def score_map(self, query: Query, picture: Picture) -> ScoreMap:
        """Compare a picture with the texts of a query."""
        width, height = scaled_size(picture, self.size)
        resized = resize_bilinear(picture, width, height)
        places = windows(width, height, self.size, self.stride)
        features = encode_windows(query, places, partial(_cut, resized))
        return WindowScores((height, width), places, features, query.text, query.upsample)


@dataclass(frozen=True, slots=True)
class NotebookWindows(Mode):
    """The sliding mode of DINOv3's segmentation notebook.

    Short side 512 by Pillow's bicubic, the other side cut to a whole number; windows of 384 every
    192 pixels, the last ones shifted inwards, stretched to the next larger multiple of the patch;
    the cosines of a window enlarged to its pixels and put through a softmax of
    temperature 1 before windows are averaged.

    Attributes:
        size: Side of a window; None looks at the picture as a whole, without a softmax.
        stride: Distance between windows.
        short_side: Of the picture.
    """

    size: int | None = 384
    stride: int = 192
    short_side: int = 512

    @property
    def input_side(self) -> int | None:
        """The side of a window."""
        return self.size

    def passes(self, picture: Picture) -> int:
        """Return the number of windows."""
        return len(self._places(*notebook_size(picture, self.short_side)))

    def settings(self, encoder: Encoder) -> dict[str, Any]:
        """Return what a report says of the mode: it brightens nothing."""
        return {**Mode.settings(self, encoder), "brightness": None}

    def score_map(self, query: Query, picture: Picture) -> ScoreMap:
        """Compare a picture with the texts of a query."""
        width, height = notebook_size(picture, self.short_side)
        places = self._places(width, height)
        cut = partial(_cut, _bicubic(picture, width, height))
        features = encode_windows(query, places, cut, larger=True)
        kind = WindowScores if self.size is None else SoftmaxScores
        return kind((height, width), places, features, query.text, query.upsample)

    def _places(self, width: int, height: int) -> list[Window]:
        if self.size is None:
            return [Window(0, 0, height, width)]
        return windows(width, height, self.size, self.stride)


@dataclass(frozen=True, slots=True, eq=False)
class SoftmaxScores(WindowScores):
    """Windows whose cosines go through a softmax over the texts before they are averaged."""

    def _window_rows(self, window: Window, patches: Features, first: int, last: int) -> Features:
        values = WindowScores._window_rows(self, window, patches, first, last)
        weights = np.exp(values - values.max(axis=-1, keepdims=True))
        return np.asarray(weights / weights.sum(axis=-1, keepdims=True), dtype=np.float32)


def protocol_embedding(protocol: Protocol | None, encoder: Encoder) -> Embedding | None:
    """Return what stands for a patch where nothing is said; None: the encoder's own.

    The notebook unpacks the head's output as (cls, _, patches), which are the backbone's own: it
    scores frozen patches, where they are as wide as the patch half of a text feature.
    """
    if protocol != "dinov3":
        return None
    try:
        encoder.with_embedding("backbone")
    except ConfigError:
        return None
    return "backbone"


def protocol_mode(protocol: Protocol, mode: Any) -> Mode:
    """Return how a protocol looks at a picture.

    Args:
        protocol: Its name.
        mode: ``whole`` for the notebook's other mode; else None or ``window``.

    Raises:
        ConfigError: If the protocol has no such mode.
    """
    if protocol == "dinov3" and mode in (None, "window", "whole"):
        return NotebookWindows(size=None if mode == "whole" else NotebookWindows().size)
    if protocol == "tcl" and mode in (None, "window"):
        return TclWindows()
    raise ConfigError(f"The protocol {protocol} fixes the mode: leave mode out.")


def notebook_size(picture: Picture, short: int) -> tuple[int, int]:
    """Return (width, height) with the short side at ``short``, the other one cut to an integer."""
    width, height = picture_size(picture)
    if width <= height:
        return short, int(height * short / width)
    return int(width * short / height), short


def resize_bilinear(picture: Picture, width: int, height: int) -> Picture:
    """Resize bilinearly without antialiasing; a picture of bytes stays one, rounded."""
    is_image = isinstance(picture, Image.Image)
    planes = np.asarray(picture, dtype=np.float32)
    rows, columns = (0, 1) if is_image else (1, 2)
    planes = Axis.between(planes.shape[rows], height).apply(planes, axis=rows)
    planes = Axis.between(planes.shape[columns], width).apply(planes, axis=columns)
    if not is_image:
        return planes
    return Image.fromarray(np.rint(planes).astype(np.uint8))


def _bicubic(picture: Picture, width: int, height: int) -> Picture:
    if isinstance(picture, Image.Image):
        return picture.resize((width, height), Image.Resampling.BICUBIC)
    planes = [
        Image.fromarray(plane).resize((width, height), Image.Resampling.BICUBIC)
        for plane in picture
    ]
    return np.stack([np.asarray(plane) for plane in planes])


def _cut(picture: Picture, place: Window, size: tuple[int, int]) -> Picture:
    """Cut out a window and stretch it, bicubically where that is needed."""
    right, bottom = place.left + place.width, place.top + place.height
    if isinstance(picture, Image.Image):
        part: Picture = picture.crop((place.left, place.top, right, bottom))
    else:
        part = picture[:, place.top : bottom, place.left : right]
    return part if picture_size(part) == size else _bicubic(part, *size)
