"""Reading and writing files of tensors, safely; hashing and comparing what they hold."""

import argparse
import hashlib
import os
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dinotxt.errors import CheckpointError, DataError
from dinotxt.files import is_file_name, read_json

StateDict = dict[str, Tensor]

_WRAPPERS = ("teacher", "target_encoder", "model_ema", "state_dict", "model", "module", "encoder")
_INDEX = ".index.json"
_RANK = re.compile(r"\.rank_?\d+\.pth$")
_MOST_LINES = 8
_SYSTEM = re.compile(r"\(os error (\d+)\)")


def write_safetensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write a ``.safetensors`` file.

    Raises:
        OSError: If the disk does not take it, such as a full one; the library hides its number.
    """
    try:
        save_file(dict(tensors), path, metadata={"format": "pt"})
    except SafetensorError as error:
        number = _SYSTEM.search(str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


def write_pickle(content: Mapping[str, Any], path: Path) -> None:
    """Write a ``.pth`` file and sync it to the disk.

    Raises:
        OSError: If the disk does not take it; torch hides its words behind an error of its own.
    """
    try:
        with path.open("wb") as stream:
            torch.save(dict(content), stream)
            stream.flush()
            os.fsync(stream.fileno())
    except RuntimeError as error:
        hidden = error.__context__
        raise (hidden if isinstance(hidden, OSError) else OSError(str(error))) from error


def read_state_dict(path: str | Path) -> StateDict:
    """Read a ``.safetensors``, ``.pth``, ``.pt`` or ``.bin`` file of tensors.

    ``NAME.index.json`` stands for the files that it names beside it. Pickles are read with
    ``weights_only``: code in them never runs. Of a checkpoint of self-distillation the teacher is
    taken.

    Raises:
        CheckpointError: If the file is missing, damaged, or holds anything but tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist: check the path of the weights.")
    if path.name.endswith(_INDEX):
        return {key: one for part in shards(path) for key, one in read_state_dict(part).items()}
    if _RANK.search(path.name):
        message = (
            f"{path} is one process's part of an FSDP checkpoint: give the whole teacher, which"
        )
        raise CheckpointError(f"{message} DINOv2 writes as eval/training_N/teacher_checkpoint.pth.")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            warnings.simplefilter("ignore", UserWarning)  # other pickle protocols
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        message = (
            f"{path} is refused: it is damaged or holds more than tensors, which could run code"
            f" ({_refusal(error)}). Get the file again, or convert it to safetensors where you"
            " trust it."
        )
        raise CheckpointError(message) from None
    except Exception as error:  # damage makes an unpickler fail in any way
        message = f"{path} is damaged or not a weight file ({error!r}): delete it and get it again."
        raise CheckpointError(message) from None
    return _tensors(content, path)


def shards(index: Path) -> list[Path]:
    """Return the files that ``NAME.index.json`` names.

    Raises:
        CheckpointError: If it is damaged, or a file lies elsewhere or is missing.
    """
    try:
        names = sorted(set(read_json(index)["weight_map"].values()))
    except (DataError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} is no index of weight files ({error!r}).") from None
    for name in names:
        if not isinstance(name, str) or not is_file_name(name) or name.endswith(_INDEX):
            raise CheckpointError(f"{index} names {name!r}, which is no file beside it.")
    return [index.with_name(name) for name in names]


def _refusal(error: pickle.UnpicklingError) -> str:
    """Return what torch did not load, without its advice to load it after all."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    named = (line for line in lines if re.search(r"GLOBAL|Unsupported|Can only", line))
    return next(named, "Weights only load failed").rstrip(".")


def check_keys(
    state: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    source: str | Path,
    names: Mapping[str, str] | None = None,
    advice: str = "",
) -> None:
    """Compare names and shapes with what a model expects.

    Args:
        state: What there is.
        expected: What the model expects.
        source: Where it comes from, for the error.
        names: What the source calls a key, where it has a name of its own for it.
        advice: What would fit, for the error.

    Raises:
        CheckpointError: If a key is missing, unexpected or has another shape; some are listed.
    """
    problems = _mismatches(state, expected, names or {})
    if problems:
        shown = problems if len(problems) <= _MOST_LINES else problems[: _MOST_LINES - 1]
        rest = [f"and {len(problems) - len(shown)} more"] if len(shown) < len(problems) else []
        lines = "\n".join(f"  {problem}" for problem in (*shown, *rest))
        said = advice or "It is of another model or size."
        raise CheckpointError(f"{source} does not fit the model. {said}\n{lines}")


def _mismatches(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], names: Mapping[str, str]
) -> list[str]:
    missing = [f"missing {names.get(key, key)}" for key in expected if key not in state]
    unexpected = [f"unexpected {names.get(key, key)}" for key in state if key not in expected]
    shapes = [
        f"{names.get(key, key)} is {tuple(state[key].shape)}, must be {tuple(expected[key].shape)}"
        for key in expected
        if key in state and state[key].shape != expected[key].shape
    ]
    return missing + unexpected + shapes


def hash_tensors(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 over the names, types, shapes and values of tensors, in name order."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _tensors(content: object, path: Path) -> StateDict:
    while isinstance(content, dict) and (found := _inner(content)):
        if found == "teacher" and isinstance(content.get("student"), dict):
            message = f"{path} holds a teacher and a student: the teacher is taken."
            warnings.warn(message, stacklevel=3)
        content = content[found]
    if not isinstance(content, dict) or not content:
        raise CheckpointError(f"{path} holds no state dict: give a file of named tensors.")
    strangers = [str(key) for key, value in content.items() if not isinstance(value, Tensor)]
    if strangers:
        message = f"{path} holds more than tensors ({', '.join(strangers[:5])}): save only those."
        raise CheckpointError(message)
    return dict(content)


def _inner(content: Mapping[Any, Any]) -> str | None:
    """Return the key under which a checkpoint holds the tensors that are wanted."""
    return next((key for key in _WRAPPERS if isinstance(content.get(key), dict)), None)
