"""GroupViT by name: ``groupvit:FOLDER`` or ``groupvit:OWNER/NAME`` on the Hugging Face hub."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dinotxt.checkpoints.baseline import LoadedBaseline
from dinotxt.checkpoints.hub import fetch
from dinotxt.data.pictures.transform import TransformConfig
from dinotxt.errors import CheckpointError, DataError
from dinotxt.files import read_json
from dinotxt.models.baselines.groupvit import GroupVit
from dinotxt.text.tokenizer import Tokenizer

PREFIX = "groupvit:"
_BILINEAR = 2  # Pillow's number


def load_groupvit(name: str) -> LoadedBaseline:
    """Load a GroupViT model of transformers.

    Args:
        name: ``groupvit:`` and a folder or a name on the hub, such as
            ``groupvit:nvidia/groupvit-gcc-yfcc``.

    Raises:
        BackendError: If transformers is not installed.
        CheckpointError: If it is no such model, or its tokenizer or preprocessing is missing.
    """
    place = name.removeprefix(PREFIX)
    model = GroupVit.load(place)
    tokenizer = Tokenizer.from_file(_file(place, "tokenizer.json"), model.context_length)
    try:
        transform = _transform(read_json(_file(place, "preprocessor_config.json")))
    except (DataError, KeyError, TypeError) as error:
        message = f"{name}: preprocessor_config.json cannot be used ({error})"
        raise CheckpointError(f"{message}: get the model's files again.") from None
    return LoadedBaseline.of(model, tokenizer, transform, name)


def _file(place: str, name: str) -> Path:
    folder = Path(place).expanduser()
    if not folder.is_dir():
        return fetch(f"hf://{place}/{name}")
    if not (folder / name).is_file():
        raise CheckpointError(f"{folder} has no {name}: copy the model's whole folder.")
    return folder / name


def _transform(config: Mapping[str, Any]) -> TransformConfig:
    """Read a CLIP image processor's settings: short side, then a crop of the centre."""
    short, crop = (_side(config[key]) for key in ("size", "crop_size"))
    return TransformConfig(
        size=crop,
        crop_ratio=max(1.0, short / crop),
        mean=tuple(config["image_mean"]),
        std=tuple(config["image_std"]),
        interpolation="bilinear" if config.get("resample") == _BILINEAR else "bicubic",
    )


def _side(size: int | Mapping[str, int]) -> int:
    return size if isinstance(size, int) else min(size.values())
