"""Files that open_clip installs, read without importing open_clip (which imports torch)."""

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType

from dinotxt.errors import BackendError


def open_clip_path(name: str) -> Path:
    """Return the path of a file inside the installed open_clip package.

    Raises:
        BackendError: If the package or the file is missing.
    """
    spec = importlib.util.find_spec("open_clip")
    if spec is None or spec.origin is None:
        raise BackendError("open_clip is not installed: run `pip install open-clip-torch`.")
    path = Path(spec.origin).with_name(name)
    if not path.is_file():
        raise BackendError(
            f"{path} is missing: run `pip install --force-reinstall open-clip-torch`."
        )
    return path


@cache
def zero_shot_metadata() -> ModuleType:
    """Return the module with ImageNet's class names and prompt templates, loaded alone."""
    path = open_clip_path("zero_shot_metadata.py")
    spec = importlib.util.spec_from_file_location("_open_clip_zero_shot_metadata", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
