"""The modes of the segmenter: a picture as a whole, and in sliding windows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dinotxt.data.pictures import Picture
from dinotxt.errors import ConfigError
from dinotxt.inference.decoding import check_finite
from dinotxt.inference.dense.scores import GridScores, ScoreMap, Upsample, WindowScores, cosines
from dinotxt.inference.encoder import Encoder, Features
from dinotxt.inference.inputs import Window, brighten, scaled_size, window_input, windows


@dataclass(frozen=True, slots=True)
class Whole:
    """The picture in one piece: its short side at ``size``, its sides multiples of the patch.

    Attributes:
        size: In pixels; None takes the model's own for segmentation.
    """

    size: int | None = None

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
        pixels = encoder.whole_pixels(picture, self.size)
        features = check_finite(encoder.towers.encode_patches(pixels[None]))
        if upsample == "logits":
            return GridScores(cosines(features[0], text))
        height, width = pixels.shape[1:]
        window = Window(0, 0, height, width)
        return WindowScores((height, width), [window], features, text, upsample)


@dataclass(frozen=True, slots=True)
class SlidingWindow:
    """Overlapping windows over a picture (protocol of TCL).

    The long side is capped as there (2048 for 448); the last windows are shifted inwards; what
    the windows say is averaged. A window that the patch does not divide is stretched.

    Attributes:
        size: Side of a window, in pixels.
        stride: Distance between windows, in pixels.
        short_side: The picture's short side; None: that of a window, as TCL has it.

    Raises:
        ConfigError: If the windows would leave gaps.
    """

    size: int = 448
    stride: int = 224
    short_side: int | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if not 0 < self.stride <= self.size:
            message = f"SlidingWindow({self.size}, {self.stride}): the stride must be positive"
            raise ConfigError(f"{message} and at most the size, or the windows leave gaps.")

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
        width, height = scaled_size(picture, self.short_side or self.size)
        resized = encoder.transform.resize(picture, (width, height))
        resized = brighten(resized, encoder.defaults.brightness)
        places = windows(width, height, self.size, self.stride)

        def cut(place: Window, size: tuple[int, int]) -> Picture:
            return encoder.transform.resize(resized, size, _box(place))

        features = encode_windows(encoder, places, cut, batch_size)
        return WindowScores((height, width), places, features, text, upsample)


def encode_windows(
    encoder: Encoder,
    places: Sequence[Window],
    cut: Callable[[Window, tuple[int, int]], Picture],
    batch_size: int,
) -> Features:
    """Return the patches of each window, ``[W, gh, gw, Dp]``.

    Args:
        encoder: The model.
        places: The windows, all of one size.
        cut: Gives a window at the (width, height) that the model takes.
        batch_size: Windows a forward pass.

    Raises:
        DataError: If the features are not finite.
    """
    size = window_input(encoder.towers, places[0].width, places[0].height)
    parts = []
    for start in range(0, len(places), batch_size):
        pixels = [
            encoder.transform.normalize(cut(place, size))
            for place in places[start : start + batch_size]
        ]
        parts.append(check_finite(encoder.towers.encode_patches(np.stack(pixels))))
    return np.concatenate(parts)


def _box(place: Window) -> tuple[float, float, float, float]:
    return place.left, place.top, place.left + place.width, place.top + place.height
