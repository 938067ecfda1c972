"""The exceptions of dinotxt; every one that a user can cause names the fix.

```text
DinotxtError
├── ConfigError      a key, a value or a combination of options is wrong
├── CheckpointError  weights are missing, damaged, unsafe or of another model
├── DataError        a picture, a caption file or a folder cannot be used
└── BackendError     a device, an optional package or a service is missing
```
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

_BROUGHT_BY = {
    "torch": "torch",
    "torchvision": "torch",
    "timm": "torch",
    "open_clip": "baselines",
    "transformers": "text",
}


class DinotxtError(Exception):
    """Base class of every error that dinotxt raises on purpose."""


class ConfigError(DinotxtError):
    """A key, a value or a combination of options is wrong."""


class CheckpointError(DinotxtError):
    """Weights are missing, damaged, unsafe or belong to another model."""


class DataError(DinotxtError):
    """A picture, a caption file or a data folder cannot be used."""


class BackendError(DinotxtError):
    """A device, an optional package or a service is missing."""


def import_extra(module: str, *, extra: str) -> ModuleType:
    """Import an optional package, or say how to install it.

    Args:
        module: The module to import, such as ``"pyarrow.parquet"``.
        extra: The extra of dinotxt that brings it, such as ``"parquet"``.

    Raises:
        BackendError: If the module is not installed; the message holds the command.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        message = f'{module} is not installed: run `pip install "dinotxt[{extra}]"`.'
        raise BackendError(message) from None


def require_torch(what: str, instead: str) -> None:
    """Pass where torch is installed, which exported models do without.

    Args:
        what: What needs it, as the beginning of a sentence.
        instead: What works without it.

    Raises:
        BackendError: If it is not installed; the message holds the command.
    """
    try:
        importlib.import_module("torch")
    except ModuleNotFoundError:
        message = f'{what} needs torch: run `pip install "dinotxt[torch]"`, or {instead}.'
        raise BackendError(message) from None


@contextmanager
def told_missing() -> Iterator[None]:
    """Say how to install what the imports of the block lack, where an extra brings it.

    Raises:
        BackendError: Instead of a ``ModuleNotFoundError`` for a package of an extra.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in _BROUGHT_BY:
            raise
        command = f'pip install "dinotxt[{_BROUGHT_BY[package]}]"'
        raise BackendError(f"{package} is not installed: run `{command}`.") from None
