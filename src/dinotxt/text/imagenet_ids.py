"""The WordNet ids of ImageNet's classes, as timm installs them, read without importing timm."""

import importlib.util
from functools import cache
from pathlib import Path

from dinotxt.errors import BackendError


@cache
def imagenet_ids() -> tuple[str, ...]:
    """Return the 1,000 WordNet ids such as ``n01440764``, in the order of the labels.

    Raises:
        BackendError: If timm or its file is missing.
    """
    spec = importlib.util.find_spec("timm")
    if spec is None or spec.origin is None:
        raise BackendError("timm is not installed: run `pip install timm`.")
    path = Path(spec.origin).parent / "data" / "_info" / "imagenet_synsets.txt"
    try:
        return tuple(path.read_text("utf-8").split())
    except OSError as error:
        raise BackendError(
            f"{path} cannot be read ({error}): run `pip install --force-reinstall timm`."
        ) from None
