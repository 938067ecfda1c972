"""Fitting the tensors of a file to the names of a timm backbone: whose checkpoint is it?

Files of Meta's, timm's and torchvision's naming load, and whole checkpoints of DINO, DINOv2, I-JEPA
and the like: the teacher is taken, wrappers of names (``module.``, ``_orig_mod.``, ``backbone.``)
fall away, and so do the heads of training.
"""

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from dinotxt.errors import CheckpointError
from dinotxt.models.config import split_order
from dinotxt.models.weights import StateDict, check_keys, read_state_dict

_WRAPPERS = (
    *("module.", "_orig_mod.", "_fsdp_wrapped_module.", "_forward_module.", "teacher.", "ema."),
    *("model.", "backbone.", "encoder.", "net."),
)
_CLASSIFIERS = ("head.", "fc.", "classifier.", "head_dist.", "linear_head.", "heads.")
_OF_TRAINING = ("mask_token", "dino_head.", "ibot_head.", "decoder_", "dino_loss.", "ibot_")
_PERIODS = "rope.periods"
_GATED = {
    "1": "fc1_g",
    "2": "fc1_x",
    "3": "fc2",
}  # of DINOv3's SwiGLU: silu(w1 x) * (w2 x), then w3
_CHUNK = re.compile(r"^blocks\.\d+\.(?=\d+\.)")
_KINDS = {
    "blocks.0.attn.qkv": "a vision transformer by timm's or Meta's names",
    "encoder.layer.0": "a Hugging Face model: give its folder as `backbone.name: hf:FOLDER`",
    "vision_model.": "a Hugging Face model of two towers: give its folder as `hf:FOLDER`",
    "embeddings.patch_embeddings": "a Hugging Face model: give its folder as `hf:FOLDER`",
    "visual.": "an open_clip model: use it as `openclip:NAME/FILE`",
    "layer1.0.conv1": "a residual network",
    "stages.0": "a network of stages",
}


def load_backbone_weights(module: nn.Module, weights: str) -> None:
    """Load a file into a timm backbone.

    Args:
        module: The backbone.
        weights: A file with timm's or Meta's names, or ``ordered:FILE`` for a file whose tensors
            come in timm's order with timm's shapes under other names.

    Raises:
        CheckpointError: If the file does not fit; the message says what it is and what would.
    """
    order, path = split_order(weights)
    given = read_state_dict(path)
    expected = module.state_dict()
    fitted = rename_in_order(given, expected, path) if order else _to_timm(given, expected, path)
    periods = fitted.pop(_PERIODS, None)
    check_keys(fitted, expected, path, advice=_advice(given, fitted, expected))
    module.load_state_dict(fitted, strict=False)  # periods that are kept may be the module's own
    if periods is not None:
        keep_periods(module, periods)


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


def keep_periods(module: nn.Module, periods: Tensor | None = None) -> None:
    """Make DINOv3's rotary periods a part of the weights: of their hash and of what is saved.

    Meta's files hold them rounded to bfloat16, and Meta's code reads them from there; timm computes
    its own (timm 1.0.31), which moves features by 1e-4 to 1e-3.

    Args:
        module: A network; without rotary periods nothing is done.
        periods: Those of a file; None: keep the module's.
    """
    rope: Any = getattr(module, "rope", None)
    if not isinstance(getattr(rope, "periods", None), Tensor):
        return
    values = rope.periods if periods is None else periods.to(rope.periods)
    rope.register_buffer("periods", values, persistent=True)
    if rope.pos_embed_cached is not None:
        rope._cache_embed(rope.feat_shape)


def _to_timm(state: StateDict, expected: Mapping[str, Tensor], path: str) -> StateDict:
    state = _bare(_teacher(state, path), expected)
    if "register_tokens" in state:
        state = _with_registers(state)
    if "storage_tokens" in state:
        state = _from_dinov3(state, expected)
    if "downsample_layers.0.0.weight" in state:
        state = {name: value for key, value in state.items() if (name := _convnext_name(key))}
    state = {_swiglu_name(key): value for key, value in state.items()}
    return {
        key: value
        for key, value in state.items()
        if key in expected or not key.startswith((*_CLASSIFIERS, *_OF_TRAINING))
    }


def _teacher(state: StateDict, path: str) -> StateDict:
    """Take the teacher's tensors, where names tell it from the student."""
    found = {key: re.search(r"(?:^|\.)(teacher|student)\.", key) for key in state}
    taken = {key: state[key] for key, match in found.items() if match and match[1] == "teacher"}
    if not taken or len(taken) == len(state):
        return state
    warnings.warn(f"{path} holds a teacher and a student: the teacher is taken.", stacklevel=2)
    return taken


def _bare(state: StateDict, expected: Mapping[str, Tensor]) -> StateDict:
    """Take wrappers off the names, and the chunks that DINOv2 trains its blocks in."""
    bare: StateDict = {}
    for key, value in state.items():
        name = key
        while name not in expected and name.startswith(_WRAPPERS):
            name = name.partition(".")[2]
        bare[name if name in expected else _CHUNK.sub("blocks.", name)] = value
    return bare


def _with_registers(state: StateDict) -> StateDict:
    """Fold the cls position into the cls token, as timm's models with registers keep it."""
    state = dict(state)
    position = state.pop("pos_embed")
    state["reg_token"] = state.pop("register_tokens")
    state["cls_token"] = state["cls_token"] + position[:, :1]
    state["pos_embed"] = position[:, 1:]
    return state


def _from_dinov3(state: StateDict, expected: Mapping[str, Tensor]) -> StateDict:
    """Rename DINOv3's keys; all-zero key biases have no place in timm."""
    renamed: StateDict = {}
    for key, value in state.items():
        if key.endswith(".bias_mask") or key.startswith("local_cls_norm"):
            continue
        if key == "rope_embed.periods":
            renamed[_PERIODS] = value
            continue
        if key.endswith("qkv.bias"):
            query, _, values = value.chunk(3)
            for part, bias in (("q_bias", query), ("v_bias", values)):
                name = key.replace("qkv.bias", part)
                if name in expected or bias.any():
                    renamed[name] = bias
            continue
        name = key.replace("storage_tokens", "reg_token")
        name = re.sub(r"mlp\.w([123])\.", lambda match: f"mlp.{_GATED[match[1]]}.", name)
        renamed[re.sub(r"ls([12])\.gamma", r"gamma_\1", name)] = value
    return renamed


def _convnext_name(key: str) -> str | None:
    """Return timm's name of a tensor of Meta's ConvNeXt; None: of a norm that is not used."""
    if key.startswith("norms."):
        return None  # norms.3 is `norm` once more, the others belong to other layers
    key = re.sub(r"^downsample_layers\.0\.", "stem.", key)
    key = re.sub(r"^downsample_layers\.(\d+)\.", r"stages.\1.downsample.", key)
    key = re.sub(r"^stages\.(\d+)\.(\d+)\.", r"stages.\1.blocks.\2.", key)
    key = key.replace(".dwconv.", ".conv_dw.").replace(".pwconv", ".mlp.fc")
    return f"head.{key}" if key.startswith("norm.") else key


def _swiglu_name(key: str) -> str:
    if match := re.fullmatch(r"(blocks\.\d+\.mlp)\.(w12|w3)\.(weight|bias)", key):
        return f"{match[1]}.{'fc1' if match[2] == 'w12' else 'fc2'}.{match[3]}"
    return key


def _is_classifier(rest: Sequence[Tensor]) -> bool:
    """Tell if tensors are the weight and bias of one linear layer."""
    return len(rest) == 2 and rest[0].ndim == 2 and rest[1].shape == rest[0].shape[:1]


def _is_counter(key: str) -> bool:
    return key.endswith("num_batches_tracked")


def _advice(given: StateDict, state: StateDict, expected: Mapping[str, Tensor]) -> str:
    """Say what kind of network a file holds, and which name or option would fit it."""
    kinds = [said for start, said in _KINDS.items() if any(start in key for key in given)]
    said = [f"It is {kinds[0]}."] if kinds else []
    ours, theirs = _sizes(state), _sizes(expected)
    side = _trained_side(state, expected)
    if ours and theirs and ours != theirs:
        depth, width, patch = ours
        sizes = f"{depth} blocks of {width} and patches of {patch} pixels"
        said.append(f"It has {sizes}: give the name of such a network.")
    elif ours and side:
        said.append(f"Set `backbone.options.img_size: {side * ours[2]}`.")
    if any(key.endswith(("q_bias", "qkv.bias")) and key not in expected for key in state):
        said.append("It has biases of queries and values: take the name that ends with `_qkvb`.")
    return " ".join(said)


def _sizes(state: Mapping[str, Tensor]) -> tuple[int, int, int] | None:
    """Return the depth, the width and the patch of a vision transformer."""
    patches = state.get("patch_embed.proj.weight")
    if patches is None or patches.ndim != 4:
        return None
    blocks = {match[1] for key in state if (match := re.match(r"blocks\.(\d+)\.", key))}
    return len(blocks), patches.shape[0], patches.shape[-1]


def _trained_side(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> int | None:
    """Return the side of the grid of a file's positions, where the network has another one."""
    ours, theirs = (_places(one) for one in (state, expected))
    if ours == theirs or not ours or not theirs:
        return None
    sides = [(math.isqrt(ours - prefix), prefix) for prefix in range(min(8, ours))]
    return next((side for side, prefix in sides if side * side == ours - prefix), None)


def _places(state: Mapping[str, Tensor]) -> int:
    positions = state.get("pos_embed")
    return 0 if positions is None or positions.ndim != 3 else positions.shape[1]
