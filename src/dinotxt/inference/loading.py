"""From a model's name or folder to what an encoder is made of; exports load without torch."""

import ctypes
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from dinotxt.checkpoints.catalogue import MODELS
from dinotxt.checkpoints.exported import is_export, read_export
from dinotxt.checkpoints.hub import is_hub_name, snapshot
from dinotxt.data.pictures import Transform
from dinotxt.errors import ConfigError, require_torch
from dinotxt.inference.defaults import InferenceDefaults, read_defaults
from dinotxt.inference.engines import Towers
from dinotxt.inference.engines.onnx_towers import OnnxTowers
from dinotxt.inference.inputs import check_size
from dinotxt.text.tokenizer import Tokenizer

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of glibc's malloc.h
_KEPT = 1 << 30


class Parts(NamedTuple):
    """What an encoder is made of; see there."""

    towers: Towers
    tokenizer: Tokenizer
    transform: Transform
    name: str
    defaults: InferenceDefaults


def open_model(name: str, *, device: str, size: int | None, trust_code: bool = False) -> Parts:
    """Load a model; see ``dinotxt.load``.

    Raises:
        CheckpointError: If the weights are missing or damaged.
        ConfigError: If the name is unknown, or the model does not take the size.
        BackendError: If the device or a package is missing.
    """
    place = str(snapshot(name)) if is_hub_name(name) else name
    if place not in MODELS and is_export(place):
        return _open_export(Path(place).expanduser(), device, size)._replace(name=name)
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


def _open_torch(name: str, device: str, size: int | None, trust_code: bool) -> Parts:
    from dinotxt.checkpoints.registry import resolve
    from dinotxt.inference.engines.torch_towers import TorchTowers, find_device

    find_device(device)
    loaded = resolve(name, trust_code=trust_code)
    if size is not None:
        check_size(size, loaded.model.patch_size)
    defaults = read_defaults(loaded.extra)
    config = replace(
        loaded.transform,
        size=size or defaults.size or loaded.transform.size,
        max_enlarge=defaults.max_enlarge,
    )
    towers = TorchTowers(loaded.model, device=device, fingerprint=loaded.fingerprint)
    return Parts(towers, loaded.tokenizer, Transform(config), loaded.name, defaults)
