"""Two published segmentation protocols without mmseg: TCL's, and the notebook of DINOv3.

What a source leaves open is inferred and marked so. The steps after the windows (averaging where
they overlap, bilinear enlargement of the mean to the picture, argmax) are the segmenter's own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from dinotxt.data.pictures import Picture, picture_size
from dinotxt.errors import ConfigError
from dinotxt.inference.dense import Axis, Mode, ScoreMap, Upsample, WindowScores, encode_windows
from dinotxt.inference.encoder import Encoder, Features
from dinotxt.inference.inputs import Window, scaled_size, windows
from dinotxt.results.skip import Progress

Protocol = Literal["tcl", "dinov3"]
TEMPLATES: Mapping[Protocol, str] = {"tcl": "tcl-9", "dinov3": "openai-80"}


@dataclass(frozen=True, slots=True)
class TclWindows:
    """The sliding test of TCL (section 4 there, mmsegmentation 0.27).

    The short side becomes 448, unless the long one would pass 2048, by bilinear interpolation
    without antialiasing on bytes (OpenCV's, to one level); windows of 448 every 224 pixels, the
    last ones shifted inwards. Inferred: a window that the patch does not divide (only where the
    aspect is beyond 4.57, or for a patch that does not divide 448) is stretched, where TCL pads.
    """

    size: int = 448
    stride: int = 224

    def score_map(
        self,
        encoder: Encoder,
        picture: Picture,
        text: Features,
        *,
        upsample: Upsample,
        batch_size: int,
    ) -> ScoreMap:
        """Compare a picture with texts ``[C, Dp]`` of length 1."""
        width, height = scaled_size(picture, self.size)
        resized = resize_bilinear(picture, width, height)
        places = windows(width, height, self.size, self.stride)
        features = _encode(encoder, resized, places, batch_size)
        return WindowScores((height, width), places, features, text, upsample)


@dataclass(frozen=True, slots=True)
class NotebookWindows:
    """The sliding mode of DINOv3's segmentation notebook.

    Short side 512 by Pillow's bicubic, the other side cut to a whole number; windows of 384 every
    192 pixels, the last ones shifted inwards, stretched to a multiple of the patch (to the nearest
    one: inferred); the cosines of a window enlarged to its pixels and put through a softmax of
    temperature 1 before windows are averaged.

    Attributes:
        size: Side of a window; None looks at the picture as a whole, without a softmax.
        stride: Distance between windows.
        short_side: Of the picture.
    """

    size: int | None = 384
    stride: int = 192
    short_side: int = 512

    def score_map(
        self,
        encoder: Encoder,
        picture: Picture,
        text: Features,
        *,
        upsample: Upsample,
        batch_size: int,
    ) -> ScoreMap:
        """Compare a picture with texts ``[C, Dp]`` of length 1."""
        width, height = notebook_size(picture, self.short_side)
        resized = _bicubic(picture, width, height)
        if self.size is None:
            places = [Window(0, 0, height, width)]
            features = _encode(encoder, resized, places, batch_size)
            return WindowScores((height, width), places, features, text, upsample)
        places = windows(width, height, self.size, self.stride)
        features = _encode(encoder, resized, places, batch_size)
        return SoftmaxScores((height, width), places, features, text, upsample)


@dataclass(frozen=True, slots=True, eq=False)
class SoftmaxScores(WindowScores):
    """Windows whose cosines go through a softmax over the texts before they are averaged."""

    def _window_rows(self, window: Window, patches: Features, first: int, last: int) -> Features:
        values = WindowScores._window_rows(self, window, patches, first, last)
        weights = np.exp(values - values.max(axis=-1, keepdims=True))
        return np.asarray(weights / weights.sum(axis=-1, keepdims=True), dtype=np.float32)


class PlainMeanEncoder(Encoder):
    """An encoder that averages the prompts of a label as TCL does: before they are normalised."""

    def encode_labels(
        self,
        labels: Sequence[str],
        templates: str | Path | Sequence[str] | None = None,
        *,
        progress: Progress | None = None,
    ) -> Features:
        """Return one feature a label, ``[C, E]`` of length 1: the mean over its prompts."""
        patterns = self.defaults.find_templates(templates)
        means = self.average_prompts(labels, patterns, scale=self._scaled)
        if progress is not None:
            progress(len(labels), len(labels))
        return means

    def _scaled(self, features: Features) -> Features:
        return features


class PatchMeanEncoder(PlainMeanEncoder):
    """An encoder that averages prompts as DINOv3's notebook does.

    It takes the half of each prompt's feature that patches are compared with, and only then
    normalises, averages and normalises. Here the other half is scaled along with it.
    """

    def _scaled(self, features: Features) -> Features:
        length = np.linalg.norm(self.towers.dense_text(features), axis=-1, keepdims=True)
        return np.asarray(features / np.maximum(length, 1e-12), dtype=np.float32)


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


def protocol_encoder(protocol: Protocol | None, encoder: Encoder) -> Encoder:
    """Return the encoder with a protocol's way to average prompts."""
    if protocol is None:
        return encoder
    kind = PlainMeanEncoder if protocol == "tcl" else PatchMeanEncoder
    return kind(
        encoder.towers, encoder.tokenizer, encoder.transform, encoder.name, encoder.defaults
    )


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


def _encode(
    encoder: Encoder, picture: Picture, places: Sequence[Window], batch_size: int
) -> Features:
    """Return the patches of each window, ``[W, gh, gw, Dp]``."""
    return encode_windows(encoder, places, partial(_cut, picture), batch_size)


def _cut(picture: Picture, place: Window, size: tuple[int, int]) -> Picture:
    """Cut out a window and stretch it, bicubically where that is needed."""
    right, bottom = place.left + place.width, place.top + place.height
    if isinstance(picture, Image.Image):
        part: Picture = picture.crop((place.left, place.top, right, bottom))
    else:
        part = picture[:, place.top : bottom, place.left : right]
    return part if picture_size(part) == size else _bicubic(part, *size)
