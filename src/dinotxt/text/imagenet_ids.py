"""The WordNet ids of ImageNet's classes, as timm installs them, read without importing timm."""

import importlib.util
from functools import cache
from pathlib import Path

from dinotxt.errors import BackendError


def imagenet_ids() -> tuple[str, ...]:
    """Return the 1,000 WordNet ids such as ``n01440764``, in the order of the labels.

    Raises:
        BackendError: If timm or its file is missing.
    """
    return _read("imagenet_synsets.txt")


def imagenet_a_ids() -> tuple[str, ...]:
    """Return the ids of the 200 classes of ImageNet-A, in the order of ImageNet's labels.

    Raises:
        BackendError: If timm or its file is missing.
    """
    return _read("imagenet_a_synsets.txt")


@cache
def _read(name: str) -> tuple[str, ...]:
    spec = importlib.util.find_spec("timm")
    if spec is None or spec.origin is None:
        raise BackendError("timm is not installed: run `pip install timm`.")
    path = Path(spec.origin).parent / "data" / "_info" / name
    try:
        return tuple(path.read_text("utf-8").split())
    except OSError as error:
        raise BackendError(
            f"{path} cannot be read ({error}): run `pip install --force-reinstall timm`."
        ) from None
