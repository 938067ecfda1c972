"""The modes of the segmenter: a picture as a whole, and in sliding windows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dinotxt.data.pictures import Picture
from dinotxt.errors import ConfigError
from dinotxt.inference.dense.scores import GridScores, Mode, Query, ScoreMap, WindowScores, cosines
from dinotxt.inference.encoder import Encoder
from dinotxt.inference.features import Features
from dinotxt.inference.inputs import Window, brighten, scaled_size, window_input, windows


@dataclass(frozen=True, slots=True)
class Whole(Mode):
    """The picture in one piece: its short side at ``size``, its sides multiples of the patch.

    Attributes:
        size: In pixels; None takes the model's own for segmentation.
    """

    size: int | None = None

    @property
    def input_side(self) -> int | None:
        """The short side in pixels, where it is given."""
        return self.size

    def settings(self, encoder: Encoder) -> dict[str, Any]:
        """Return what a report says of the mode, with the model's size where none is given."""
        return {**Mode.settings(self, encoder), "size": self.size or encoder.short_side}

    def score_map(self, query: Query, picture: Picture) -> ScoreMap:
        """Compare a picture with the texts of a query."""
        pixels = query.encoder.whole_pixels(picture, self.size)
        features = query.encode_patches(pixels[None])
        if query.upsample == "logits":
            return GridScores(cosines(features[0], query.text))
        height, width = pixels.shape[1:]
        window = Window(0, 0, height, width)
        return WindowScores((height, width), [window], features, query.text, query.upsample)


@dataclass(frozen=True, slots=True)
class SlidingWindow(Mode):
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

    @property
    def input_side(self) -> int:
        """The side of a window."""
        return self.size

    def passes(self, picture: Picture) -> int:
        """Return the number of windows."""
        return len(self._places(picture)[1])

    def score_map(self, query: Query, picture: Picture) -> ScoreMap:
        """Compare a picture with the texts of a query."""
        transform = query.encoder.transform
        (width, height), places = self._places(picture)
        resized = transform.resize(picture, (width, height))
        resized = brighten(resized, query.encoder.defaults.brightness)

        def cut(place: Window, size: tuple[int, int]) -> Picture:
            return transform.resize(resized, size, _box(place))

        features = encode_windows(query, places, cut)
        return WindowScores((height, width), places, features, query.text, query.upsample)

    def _places(self, picture: Picture) -> tuple[tuple[int, int], list[Window]]:
        """Return the (width, height) that a picture is looked at, and the windows on it."""
        width, height = scaled_size(picture, self.short_side or self.size)
        return (width, height), windows(width, height, self.size, self.stride)


def encode_windows(
    query: Query,
    places: Sequence[Window],
    cut: Callable[[Window, tuple[int, int]], Picture],
    *,
    larger: bool = False,
) -> Features:
    """Return the patches of each window, ``[W, gh, gw, Dp]``.

    Args:
        query: The model, and how many windows a forward pass has.
        places: The windows, all of one size.
        cut: Gives a window at the (width, height) that the model takes.
        larger: Whether a window that the patch does not divide is stretched to the next larger
            multiple, not the nearest.

    Raises:
        DataError: If the features are not finite.
    """
    encoder = query.encoder
    size = window_input(encoder.towers, places[0].width, places[0].height, larger=larger)
    parts = []
    for start in range(0, len(places), query.batch_size):
        pixels = [
            encoder.transform.normalize(cut(place, size))
            for place in places[start : start + query.batch_size]
        ]
        parts.append(query.encode_patches(np.stack(pixels)))
    return np.concatenate(parts)


def _box(place: Window) -> tuple[float, float, float, float]:
    return place.left, place.top, place.left + place.width, place.top + place.height
