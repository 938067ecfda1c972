"""The segmenter's modes by name, with a model's own settings where the user says nothing."""

from dataclasses import replace

from dinotxt.errors import ConfigError
from dinotxt.inference.defaults import InferenceDefaults
from dinotxt.inference.dense.highres import HighRes
from dinotxt.inference.dense.scores import Mode
from dinotxt.inference.dense.window import SlidingWindow, Whole

MODES = ("whole", "window", "highres")


def find_mode(
    name: str | None,
    defaults: InferenceDefaults,
    *,
    size: int | None = None,
    stride: int | None = None,
    crops: int | None = None,
    clusters: int | None = None,
) -> Mode:
    """Return a mode.

    Args:
        name: ``whole``, ``window`` or ``highres``; None takes the model's own.
        defaults: The model's settings.
        size: Short side of a whole picture, or side of a window on a picture whose short side is
            as long (protocol of TCL), or of the squares that crops become.
        stride: Distance between windows; None: the model's, or half of ``size``.
        crops: The budget of ``highres``, which is spent on the model's own mix of crops; None: the
            paper's 800 of 1%, 10% and 100%.
        clusters: Groups of k-means in ``highres``; None: the model's with ``crops``, else 32.

    Raises:
        ConfigError: If there is no such mode, or the settings contradict it.
    """
    name = name or defaults.mode
    if name not in MODES:
        raise ConfigError(f"mode is {name!r}: give {' or '.join(MODES)}.")
    if crops is not None and name != "highres":
        raise ConfigError("crops goes with the mode highres: give that, too.")
    if clusters is not None and name != "highres":
        raise ConfigError("clusters goes with the mode highres: give that, too.")
    if stride is not None and name != "window":
        raise ConfigError("stride goes with the mode window: give that, too.")
    if name == "highres":
        return high_res(defaults, size=size, crops=crops, clusters=clusters)
    if name == "whole":
        return Whole(size)
    if size is None:
        return SlidingWindow(defaults.window, stride or defaults.stride, defaults.short_side)
    return SlidingWindow(size, stride or max(1, size // 2))


def high_res(
    defaults: InferenceDefaults,
    *,
    size: int | None = None,
    crops: int | None = None,
    clusters: int | None = None,
) -> HighRes:
    """Return the paper's crops, or the model's own mix of as many as are asked for.

    Args:
        defaults: The model's settings.
        size: Side of the squares that crops become.
        crops: The budget; None: the paper's.
        clusters: Groups of k-means; None: the model's with ``crops``, else 32.
    """
    if crops is None:
        mode = HighRes(crop_size=size or HighRes().crop_size)
    else:
        mode = HighRes(
            crops=crops,
            crop_size=size or defaults.crop_size,
            areas=defaults.crop_areas,
            shares=defaults.crop_shares,
            num_clusters=defaults.crop_clusters,
        )
    return mode if clusters is None else replace(mode, num_clusters=clusters)
