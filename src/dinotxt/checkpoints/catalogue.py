"""The models that are known by name. No torch here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from dinotxt.errors import CheckpointError, ConfigError

_DINOV2 = "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_reg4_"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedModel:
    """A model that is known by name.

    Attributes:
        name: The name.
        backbone: Its backbone, for people.
        text_encoder: Its text encoder, for people.
        source: Where its weights come from, for people.
        urls: Meta's files by the argument of ``meta.load`` that takes them.
        patterns: Files that must be at hand, by argument: a pattern in ``DINOTXT_WEIGHTS``.
    """

    name: str
    backbone: str
    text_encoder: str
    source: str
    urls: Mapping[str, str] = field(default_factory=dict)
    patterns: Mapping[str, str] = field(default_factory=dict)


MODELS = {
    model.name: model
    for model in (
        NamedModel(
            name="lite",
            backbone="EfficientNet-Lite2, frozen",
            text_encoder="MiniLM-L6",
            source="one wheel on PyPI; the rest is inside this package",
        ),
        NamedModel(
            name="dinov2-vitl14",
            backbone="DINOv2 ViT-L/14 with registers, frozen",
            text_encoder="transformer, 24 layers of 1280",
            source="Meta's released files, by URL or in the folder DINOTXT_WEIGHTS",
            urls={
                "backbone": f"{_DINOV2}pretrain.pth",
                "vision_head": f"{_DINOV2}dinotxt_tet1280d20h24l_vision_head.pth",
                "text_encoder": f"{_DINOV2}dinotxt_tet1280d20h24l_text_encoder.pth",
            },
        ),
        NamedModel(
            name="dinov3-vitl16",
            backbone="DINOv3 ViT-L/16, frozen",
            text_encoder="transformer, 24 layers of 1280",
            source="Meta's released files in the folder DINOTXT_WEIGHTS (ask Meta for access)",
            patterns={
                "backbone": "dinov3_vitl16_pretrain*.pth",
                "vision_head_and_text_encoder": (
                    "dinov3_vitl16_dinotxt_vision_head_and_text_encoder-a442d8f5.pth"
                ),
            },
        ),
    )
}


def find_folder(name: str) -> Path | None:
    """Return the folder that a name stands for; None for a model of Meta's files.

    Raises:
        ConfigError: If the name is unknown and no folder.
        CheckpointError: If the package holds no weights for it.
    """
    if name == "lite":
        return lite_folder()
    if name in MODELS:
        return None
    path = Path(name).expanduser()
    for folder in (path, path / "model"):
        if (folder / "config.json").is_file():
            return folder
    if path.exists():
        raise CheckpointError(f"{path} is no model: it has neither config.json nor model/.")
    names = ", ".join([*MODELS, "openclip:NAME/PRETRAINED"])
    message = f"{name!r} is neither a folder nor a known model: choose from {names}."
    raise ConfigError(message)


def lite_folder() -> Path:
    """Return the folder of `lite` inside the package.

    Raises:
        CheckpointError: If this installation has none.
    """
    folder = Path(str(files("dinotxt"))) / "weights" / "lite"
    if not (folder / "config.json").is_file():
        message = (
            f"This installation has no lite weights in {folder}: install a released wheel, or train"
            " your own with `dinotxt train lite` and pass its folder as --model."
        )
        raise CheckpointError(message)
    return folder
