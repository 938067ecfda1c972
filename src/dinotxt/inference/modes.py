"""The segmenter's modes by name, with a model's own settings where the user says nothing."""

from dinotxt.errors import ConfigError
from dinotxt.inference.defaults import InferenceDefaults
from dinotxt.inference.dense import Mode
from dinotxt.inference.window import SlidingWindow, Whole

MODES = ("whole", "window")


def find_mode(
    name: str | None,
    defaults: InferenceDefaults,
    *,
    size: int | None = None,
    stride: int | None = None,
) -> Mode:
    """Return a mode.

    Args:
        name: ``whole`` or ``window``; None takes the model's own.
        defaults: The model's settings.
        size: Short side of a whole picture, or side of a window on a picture whose short side is
            as long (protocol of TCL).
        stride: Distance between windows; None: the model's, or half of ``size``.

    Raises:
        ConfigError: If there is no such mode, or the settings contradict it.
    """
    name = name or defaults.mode
    if name not in MODES:
        raise ConfigError(f"mode is {name!r}: give {' or '.join(MODES)}.")
    if name == "whole":
        if stride is not None:
            raise ConfigError("stride goes with the mode window: give that, too.")
        return Whole(size)
    if size is None:
        return SlidingWindow(defaults.window, stride or defaults.stride, defaults.short_side)
    return SlidingWindow(size, stride or max(1, size // 2))
