"""The names of Meta's released tensors and ours, both ways; no value is touched.

DINOv2 has two files: ``block_list.N...`` for the vision head and ``backbone...`` with
``head.linear_projection`` for the text encoder. DINOv3 has one: ``visual_model.head.blocks.N...``,
``text_model.`` before the same text names, and ``logit_scale``.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

Layout = Literal["dinov2", "dinov3"]

_HEAD, _TEXT = "vision_head.", "text_encoder."
_HEAD_V3, _TEXT_V3 = "visual_model.head.", "text_model."
_BACKBONE_V3 = "visual_model.backbone."


def from_dinov2(vision_head: Mapping[str, Any], text_encoder: Mapping[str, Any]) -> dict[str, Any]:
    """Join DINOv2's two files under our names."""
    head = {
        _HEAD + key.replace("block_list.", "blocks.", 1): value
        for key, value in vision_head.items()
    }
    return head | {_TEXT + _text_name(key): value for key, value in text_encoder.items()}


def from_dinov3(state: Mapping[str, Any]) -> dict[str, Any]:
    """Rename DINOv3's file; the backbone's weights in it are left out."""
    renamed: dict[str, Any] = {}
    for key, value in state.items():
        if key.startswith(_BACKBONE_V3):
            continue
        if key.startswith(_HEAD_V3):
            renamed[_HEAD + key.removeprefix(_HEAD_V3)] = value
        elif key.startswith(_TEXT_V3):
            renamed[_TEXT + _text_name(key.removeprefix(_TEXT_V3))] = value
        else:
            renamed[key] = value
    return renamed


def to_dinov2(state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return DINOv2's vision head and text encoder files; the logit scale is in neither."""
    head = {
        key.removeprefix(_HEAD).replace("blocks.", "block_list.", 1): value
        for key, value in state.items()
        if key.startswith(_HEAD)
    }
    return head, _text_file(state)


def to_dinov3(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return DINOv3's single file."""
    head = {
        _HEAD_V3 + key.removeprefix(_HEAD): value
        for key, value in state.items()
        if key.startswith(_HEAD)
    }
    text = {_TEXT_V3 + key: value for key, value in _text_file(state).items()}
    return head | text | {"logit_scale": state["logit_scale"]}


def official_names(names: Iterable[str], layout: Layout) -> dict[str, str]:
    """Return Meta's name of each of our names that its layout has one for."""
    ours = {name: name for name in names} | {"logit_scale": "logit_scale"}
    if layout == "dinov3":
        theirs: Mapping[str, Any] = to_dinov3(ours)
    else:
        head, text = to_dinov2(ours)
        theirs = {**head, **text}
    return {name: official for official, name in theirs.items()}


def _text_name(key: str) -> str:
    if key.startswith("head.linear_projection."):
        return key.replace("head.linear_projection.", "projection.")
    return key.removeprefix("backbone.")


def _text_file(state: Mapping[str, Any]) -> dict[str, Any]:
    names = {key: key.removeprefix(_TEXT) for key in state if key.startswith(_TEXT)}
    return {
        name.replace("projection.", "head.linear_projection.")
        if name.startswith("projection.")
        else f"backbone.{name}": state[key]
        for key, name in names.items()
    }
