"""Reading weight files safely and fitting a backbone's weights to timm's names."""

import hashlib
import os
import pickle
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dinotxt.errors import CheckpointError
from dinotxt.models.config import split_order

StateDict = dict[str, Tensor]

_WRAPPERS = ("state_dict", "model", "teacher")
_CLASSIFIERS = ("head.", "fc.", "classifier.", "head_dist.", "linear_head.", "heads.")
_UNUSED = ("mask_token",)
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

    Pickles are read with ``weights_only``: code in them never runs.

    Raises:
        CheckpointError: If the file is missing, damaged, or holds anything but tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist: check the path of the weights.")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        with warnings.catch_warnings():
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


def _refusal(error: pickle.UnpicklingError) -> str:
    """Return what torch did not load, without its advice to load it after all."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    named = (line for line in lines if re.search(r"GLOBAL|Unsupported|Can only", line))
    return next(named, "Weights only load failed").rstrip(".")


def load_backbone_weights(module: nn.Module, weights: str) -> None:
    """Load a file into a timm backbone.

    Args:
        module: The backbone.
        weights: A file with timm's or Meta's names, or ``ordered:FILE`` for a file whose tensors
            come in timm's order with timm's shapes under other names.

    Raises:
        CheckpointError: If the file does not fit; every missing, unexpected and mis-shaped key
            is listed.
    """
    order, path = split_order(weights)
    given = read_state_dict(path)
    fitted = rename_in_order(given, module.state_dict(), path) if order else _to_timm(given, module)
    load_strictly(module, fitted, path)


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], source: str | Path) -> None:
    """Load ``state`` into ``module``; list every key that does not fit.

    Raises:
        CheckpointError: If a key is missing, unexpected or has another shape.
    """
    check_keys(state, module.state_dict(), source)
    module.load_state_dict(dict(state))


def check_keys(
    state: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    source: str | Path,
    names: Mapping[str, str] | None = None,
) -> None:
    """Compare names and shapes with what a model expects.

    Args:
        state: What there is.
        expected: What the model expects.
        source: Where it comes from, for the error.
        names: What the source calls a key, where it has a name of its own for it.

    Raises:
        CheckpointError: If a key is missing, unexpected or has another shape; all are listed.
    """
    problems = _mismatches(state, expected, names or {})
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        message = f"{source} does not fit the model: it is of another model or size.\n{lines}"
        raise CheckpointError(message)


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


def rename_in_order(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: str | Path
) -> StateDict:
    """Give the tensors of ``state`` the names of ``expected``, one after the other.

    Batch counters are left out on both sides, and a classifier at the end of the file.

    Raises:
        CheckpointError: If the number or the shapes of the tensors differ.
    """
    values = [(key, value) for key, value in state.items() if not _is_counter(key)]
    names = [key for key in expected if not _is_counter(key)]
    fits = len(values) == len(names) or _is_classifier([value for _, value in values[len(names) :]])
    pairs = list(zip(names, values, strict=False))
    wrong = [
        f"  {key} is {tuple(value.shape)}, {name} is {tuple(expected[name].shape)}"
        for name, (key, value) in pairs
        if value.shape != expected[name].shape
    ]
    if wrong or not fits:
        head = f"{source} holds {len(values)} tensors for {len(names)}: not in the same order."
        raise CheckpointError("\n".join([head, *wrong]))
    counters = {key: value for key, value in expected.items() if _is_counter(key)}
    return {**counters, **{name: value for name, (_, value) in pairs}}


def _tensors(content: object, path: Path) -> StateDict:
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not content:
        raise CheckpointError(f"{path} holds no state dict: give a file of named tensors.")
    strangers = [str(key) for key, value in content.items() if not isinstance(value, Tensor)]
    if strangers:
        message = f"{path} holds more than tensors ({', '.join(strangers[:5])}): save only those."
        raise CheckpointError(message)
    return dict(content)


def _to_timm(state: StateDict, module: nn.Module) -> StateDict:
    expected = module.state_dict()
    if any(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    if "register_tokens" in state:
        state = _with_registers(state)
    if "storage_tokens" in state:
        state = _from_dinov3(state, expected)
    state = {_swiglu_name(key): value for key, value in state.items()}
    return {
        key: value
        for key, value in state.items()
        if key in expected or not key.startswith((*_CLASSIFIERS, *_UNUSED))
    }


def _with_registers(state: StateDict) -> StateDict:
    """Fold the cls position into the cls token, as timm's models with registers keep it."""
    state = dict(state)
    position = state.pop("pos_embed")
    state["reg_token"] = state.pop("register_tokens")
    state["cls_token"] = state["cls_token"] + position[:, :1]
    state["pos_embed"] = position[:, 1:]
    return state


def _from_dinov3(state: StateDict, expected: Mapping[str, Tensor]) -> StateDict:
    """Rename DINOv3's keys; rotary periods and all-zero key biases have no place in timm."""
    renamed: StateDict = {}
    for key, value in state.items():
        if key.endswith((".periods", ".bias_mask")) or key.startswith("local_cls_norm"):
            continue
        if key.endswith("qkv.bias"):
            query, _, values = value.chunk(3)
            for part, bias in (("q_bias", query), ("v_bias", values)):
                name = key.replace("qkv.bias", part)
                if name in expected or bias.any():
                    renamed[name] = bias
            continue
        name = key.replace("storage_tokens", "reg_token")
        renamed[re.sub(r"ls([12])\.gamma", r"gamma_\1", name)] = value
    return renamed


def _swiglu_name(key: str) -> str:
    if match := re.fullmatch(r"(blocks\.\d+\.mlp)\.(w12|w3)\.(weight|bias)", key):
        return f"{match[1]}.{'fc1' if match[2] == 'w12' else 'fc2'}.{match[3]}"
    return key


def _is_classifier(rest: Sequence[Tensor]) -> bool:
    """Tell if tensors are the weight and bias of one linear layer."""
    return len(rest) == 2 and rest[0].ndim == 2 and rest[1].shape == rest[0].shape[:1]


def _is_counter(key: str) -> bool:
    return key.endswith("num_batches_tracked")
