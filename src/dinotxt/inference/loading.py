"""From a model's name or folder to what an encoder is made of.

Exports, `lite` and models like it run on ONNX Runtime and load without torch; the others need it.
"""

import ctypes
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from dinotxt.checkpoints.catalogue import MODELS, find_folder
from dinotxt.checkpoints.exported import is_export, read_export
from dinotxt.checkpoints.folder import (
    TOKENIZER,
    FolderConfig,
    is_model_folder,
    read_config,
    verified,
)
from dinotxt.checkpoints.hub import is_hub_name, snapshot
from dinotxt.data.pictures import Transform, TransformConfig
from dinotxt.errors import ConfigError, require_torch
from dinotxt.inference.defaults import InferenceDefaults, read_defaults
from dinotxt.inference.engines import Towers
from dinotxt.inference.engines.graph_towers import GraphTowers
from dinotxt.inference.engines.onnx_towers import OnnxTowers
from dinotxt.inference.engines.sessions import has_cuda, parse_device
from dinotxt.inference.graphs import is_supported
from dinotxt.inference.inputs import check_size
from dinotxt.text.tokenizer import Tokenizer

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of glibc's malloc.h
_KEPT = 1 << 30

Engine = Literal["auto", "onnx", "torch"]


class Parts(NamedTuple):
    """What an encoder is made of; see there."""

    towers: Towers
    tokenizer: Tokenizer
    transform: Transform
    name: str
    defaults: InferenceDefaults


def open_model(
    name: str,
    *,
    device: str,
    size: int | None,
    engine: Engine = "auto",
    trust_code: bool = False,
) -> Parts:
    """Load a model; see ``dinotxt.load``.

    Raises:
        CheckpointError: If the weights are missing or damaged.
        ConfigError: If the name is unknown, or the model does not take the size.
        BackendError: If the device or a package is missing.
    """
    if engine not in get_args(Engine):
        raise ConfigError(f"engine is {engine!r}: choose from {', '.join(get_args(Engine))}.")
    _check_device(device)
    place = str(snapshot(name)) if is_hub_name(name) else name
    if place not in MODELS and is_export(place):
        if engine == "torch":
            raise ConfigError(f"{name} is an export, for ONNX Runtime alone: give engine onnx.")
        return _open_export(Path(place).expanduser(), device, size)._replace(name=name)
    written = None if engine == "torch" else _writable(place)
    if written is not None and (engine == "onnx" or not _is_for_torch(device)):
        return _open_written(*written, device, size)._replace(name=name)
    if engine == "onnx":
        message = f"{name} runs on torch alone: write a folder for ONNX Runtime with"
        raise ConfigError(f"{message} `dinotxt export --model {name} --out FOLDER` and give that.")
    require_torch(name, "give a folder that `dinotxt export` wrote")
    return _open_torch(place, device, size, trust_code)._replace(name=name)


def keep_freed_memory() -> bool:
    """Let glibc keep what is freed, in one heap for all threads; call it before a model is loaded.

    Otherwise the large maps of every forward pass are asked of the system and given back, which
    costs a quarter of the time in page faults, and every thread grows a heap of its own: memory
    rises with the number of threads and of batch sizes seen.

    Returns:
        Whether the system's allocator is glibc's and took it.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    options = ((_TRIM_THRESHOLD, _KEPT), (_MMAP_THRESHOLD, _KEPT), (_ARENA_MAX, 1))
    taken = [mallopt(option, value) == 1 for option, value in options]
    return all(taken)


def _open_export(folder: Path, device: str, size: int | None) -> Parts:
    config = read_export(folder)
    if size is not None and size not in config.images:
        sizes = ", ".join(str(known) for known in sorted(config.images))
        message = f"{folder} takes pictures of {sizes} pixels, not {size}"
        raise ConfigError(f"{message}: export that size, too.")
    defaults = read_defaults({"inference": config.inference})
    wanted = size or defaults.size or config.transform.size
    nearest = min(config.images, key=lambda known: abs(known - wanted))
    return Parts(
        OnnxTowers(folder, config, device=device),
        Tokenizer.from_file(folder / config.tokenizer.file, config.context_length),
        Transform(replace(config.transform, size=nearest, max_enlarge=None)),
        folder.name,
        defaults,
    )


def _writable(name: str) -> tuple[Path, FolderConfig] | None:
    """Return the model folder that a name stands for, where its graphs can be written."""
    if name.startswith(("openclip:", "groupvit:")):
        return None
    folder = find_folder(name)
    if folder is None or not is_model_folder(folder):
        return None
    config = read_config(folder)
    return (folder, config) if is_supported(config.model) else None


def _check_device(device: str) -> None:
    """Refuse a device that is not there before anything is loaded."""
    parse_device(device)
    if _is_for_torch(device):
        require_torch(f"The device {device}", "give auto or cpu")
        from dinotxt.inference.engines.torch_towers import find_device

        find_device(device)


def _is_for_torch(device: str) -> bool:
    """Tell if a device is one that only torch can use here."""
    return device.startswith("cuda") and not has_cuda()


def _open_written(folder: Path, config: FolderConfig, device: str, size: int | None) -> Parts:
    towers = GraphTowers(folder, config, device=device)
    tokenizer = verified(folder, TOKENIZER, config.tokenizer.sha256)
    return Parts(
        towers,
        Tokenizer.from_file(tokenizer, config.tokenizer.context_length),
        *_settings(config.transform, config.extra, size, towers.patch_size, folder.name),
    )


def _open_torch(name: str, device: str, size: int | None, trust_code: bool) -> Parts:
    from dinotxt.checkpoints.registry import resolve
    from dinotxt.inference.engines.torch_towers import TorchTowers, find_device

    find_device(device)
    loaded = resolve(name, trust_code=trust_code)
    patch_size = loaded.model.patch_size
    transform = _settings(loaded.transform, loaded.extra, size, patch_size, loaded.name)
    towers = TorchTowers(loaded.model, device=device, fingerprint=loaded.fingerprint)
    return Parts(towers, loaded.tokenizer, *transform)


def _settings(
    transform: TransformConfig,
    extra: Mapping[str, Any],
    size: int | None,
    patch_size: int,
    name: str,
) -> tuple[Transform, str, InferenceDefaults]:
    """Return the last three parts of a model folder, its inputs of the size that it likes."""
    if size is not None:
        check_size(size, patch_size)
    defaults = read_defaults(extra)
    side = size or defaults.size or transform.size
    config = replace(transform, size=side, max_enlarge=defaults.max_enlarge)
    return Transform(config), name, defaults
