"""What ``config.json`` of a model folder says, and where the files are that it names.

No torch here. Format 2 holds only what differs from the defaults; format 1 is read, too. Whatever a
folder says is data: files are named without a folder and lie in it, and nothing else is fetched.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from dinotxt import __version__
from dinotxt.checkpoints.catalogue import MODELS
from dinotxt.config import configuration
from dinotxt.data.pictures import TransformConfig
from dinotxt.errors import CheckpointError, ConfigError, DataError
from dinotxt.files import is_file_name, read_json, sha256_file
from dinotxt.models.config import BackboneConfig, ModelConfig, PretrainedTextConfig, split_order

CONFIG, TOKENIZER = "config.json", "tokenizer.json"
INSIDE = "folder:"
_KEYS = {"format", "weights", "tokenizer", "frozen_sha256", "model"}
_KNOWN_SITES = {urlsplit(url).netloc for model in MODELS.values() for url in model.urls.values()}
_NO_FILE = ("random", "pretrained", "wheel:", "hf://")
_GONE: dict[str, dict[str, Any]] = {
    "vision_head": {"cls_weights": "shared", "patch_attention": "full"},
    "text_encoder": {"lora_rank": 0, "lora_alpha": 16.0, "projection_hidden": None},
}
"""What format 1 held and no version since knows, with the values that changed nothing."""


@configuration
class WeightsFile:
    """The file of the trained weights: its name in the folder and its hash."""

    file: str
    sha256: str

    def __post_init__(self) -> None:
        """Refuse a path: what is checked must be what is opened."""
        if not is_file_name(self.file):
            raise ValueError(f"{self.file!r} is no file's name: a folder or a sign is in it")


@configuration
class TokenizerFile:
    """The hash of ``tokenizer.json`` and the most tokens of a text."""

    sha256: str
    context_length: int


@configuration
class FolderConfig:
    """What ``config.json`` says, every default filled in.

    Attributes:
        format: Of this layout.
        weights: What training changed.
        tokenizer: The text encoder's.
        frozen_sha256: The hash of all that is frozen.
        model: The architecture.
        transform: How pictures become the backbone's input.
        versions: Of the programs that wrote it.
        extra: What was saved along with it, such as the settings for inference.
    """

    format: Literal[2] = 2
    weights: WeightsFile
    tokenizer: TokenizerFile
    frozen_sha256: str
    model: ModelConfig
    transform: TransformConfig
    versions: dict[str, str] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """SHA-256 that changes whenever features would."""
        parts = [self.weights.sha256, self.tokenizer.sha256]
        parts += [self.frozen_sha256, self.transform.fingerprint]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return what is written: only what differs from the defaults, and the format."""
        return {"format": self.format, **_differing(self)}


def is_model_folder(folder: Path) -> bool:
    """Tell if a folder holds a model of ours, whole or damaged."""
    try:
        content = read_json(folder / CONFIG)
    except DataError:
        return False
    return isinstance(content, dict) and content.keys() >= _KEYS


def read_config(folder: Path) -> FolderConfig:
    """Read and check ``config.json``.

    Raises:
        CheckpointError: If it is missing, damaged, of another program or of a later version.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise CheckpointError(f"{folder} is no model folder: it has no {CONFIG}.")
    try:
        content = read_json(path)
    except DataError as error:
        raise CheckpointError(f"{error} Copy the whole folder again.") from None
    if not isinstance(content, dict) or not content.keys() >= _KEYS:
        raise CheckpointError(f"{path} is of another program: give a folder that dinotxt wrote.")
    written_by = _version(content)
    try:
        return FolderConfig(**upgrade(content))
    except ConfigError as error:
        known = f"dinotxt {written_by} wrote it and knows more than {__version__}: upgrade to that"
        fix = known if written_by != __version__ else "copy the whole folder again"
        raise CheckpointError(f"{path} cannot be used: {error}: {fix}.") from None


def upgrade(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a folder of any format in that of today.

    Raises:
        CheckpointError: If the format is unknown, or a setting that is gone had an effect.
    """
    if content["format"] == 2:
        return dict(content)
    if content["format"] != 1:
        message = (
            f"The model folder has format {content['format']}, and dinotxt {__version__} reads"
        )
        raise CheckpointError(f"{message} 1 and 2: upgrade to dinotxt {_version(content)}.")
    model = dict(content["model"]) if isinstance(content["model"], dict) else content["model"]
    for part, gone in _GONE.items():
        branch = model.get(part) if isinstance(model, dict) else None
        if not isinstance(branch, dict):
            continue
        for key, plain in gone.items():
            has_effect = branch.get(key, plain) != plain and key != "lora_alpha"
            if has_effect:
                message = f"The model has {part}.{key}: {branch[key]}, which dinotxt {__version__}"
                raise CheckpointError(f"{message} does not know: use {_version(content)}.")
        model[part] = {key: value for key, value in branch.items() if key not in gone}
    return {**content, "format": 2, "model": model}


def verified(folder: Path, name: str, sha256: str) -> Path:
    """Return a file of the folder whose hash is right.

    Raises:
        CheckpointError: If it is missing or has another hash.
    """
    path = folder / name
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: copy the whole folder again.")
    if sha256_file(path) != sha256:
        message = f"{path} is torn or of another model: copy the whole folder again."
        raise CheckpointError(message)
    return path


def recorded(backbone: BackboneConfig) -> BackboneConfig:
    """Record local files by absolute path; a trained backbone needs no other file."""
    if not backbone.frozen:
        return replace(backbone, weights="random")
    prefix, path = split_order(backbone.weights or "")
    if path and Path(path).is_file():
        return replace(backbone, weights=f"{prefix}{Path(path).resolve()}")
    return backbone


def relocated(config: ModelConfig, folder: Path, *, trust_code: bool = False) -> ModelConfig:
    """Find the files of the frozen part; ``folder:NAME`` lies in the model's own folder.

    Args:
        config: As a model folder has it.
        folder: The model folder.
        trust_code: Whether who wrote it is trusted: then any address is fetched from.

    Raises:
        CheckpointError: If the backbone's file is gone, or is named in a way that a folder may not.
    """
    text = config.text_encoder
    backbone = config.backbone
    prefix, path = split_order(backbone.weights or "")
    if path and not path.startswith(_NO_FILE):
        place = _place(path, folder, trust_code)
        backbone = replace(backbone, weights=f"{prefix}{place}")
    if isinstance(text, PretrainedTextConfig) and text.name.startswith(INSIDE):
        text = replace(text, name=str(_inside(text.name, folder)))
    return replace(config, backbone=backbone, text_encoder=text)


def _place(path: str, folder: Path, trust_code: bool) -> str | Path:
    """Find the backbone's file: in the model's folder, where it was, or beside the folder."""
    if path.startswith(("http://", "https://")):
        if trust_code or urlsplit(path).netloc in _KNOWN_SITES:
            return path
        message = f"{folder} would fetch {path}, and a model's files may name no address: get it"
        raise CheckpointError(f"{message} yourself and put it into the folder, or --trust-code.")
    if path.startswith(INSIDE):
        return _inside(path, folder)
    if not Path(path).is_absolute():
        message = (
            f"{folder} names the backbone's file {path}, which is no file of the folder: write"
        )
        raise CheckpointError(f"{message} {INSIDE}NAME or a whole path.")
    name = Path(path).name
    for place in (folder / name, Path(path), folder.parent / name):
        if place.is_file():
            return place
    raise CheckpointError(
        f"The frozen backbone of {folder} was read from {path}, which is gone: put the file into"
        " the folder."
    )


def _inside(name: str, folder: Path) -> Path:
    own = name.removeprefix(INSIDE)
    if not is_file_name(own):
        raise CheckpointError(f"{folder} names {name!r}, which is no file of the folder: refused.")
    return folder.resolve() / own


def _differing(config: Any) -> dict[str, Any]:
    """Return the fields that differ from their defaults; ``kind`` tells variants apart."""
    content: dict[str, Any] = {}
    for one in fields(config):
        value = getattr(config, one.name)
        factory = one.default_factory
        default = one.default if factory is MISSING else factory()
        if one.name == "kind" or value != default:
            content[one.name] = _differing(value) if is_dataclass(value) else value
    return content


def _version(content: Mapping[str, Any]) -> str:
    versions = content.get("versions")
    return str(versions.get("dinotxt", "?")) if isinstance(versions, dict) else "?"
