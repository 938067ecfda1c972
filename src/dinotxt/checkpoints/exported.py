"""The folder of an exported model: ONNX files, tokenizer and configuration. No torch here.

``config.json`` is written last and names every file with its hash, so a folder is whole or none.
"""

from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from dinotxt.config import configuration, to_json
from dinotxt.data.pictures import TransformConfig
from dinotxt.errors import CheckpointError, ConfigError, DataError
from dinotxt.files import is_file_name, read_json, sha256_file, write_json

KIND = "dinotxt-onnx"
CONFIG, TOKENIZER = "config.json", "tokenizer.json"

Precision = Literal["fp32", "int8"]
Count = Annotated[int, Field(ge=1)]


@configuration
class ExportedFile:
    """A file of the folder.

    Attributes:
        file: Its name.
        sha256: Its hash.
        data_sha256: The hash of ``FILE.data``, where the weights of a large model are; None: there
            is no such file.
    """

    file: str
    sha256: str
    data_sha256: str | None = None

    def __post_init__(self) -> None:
        """Refuse a path: what is checked must be what is opened."""
        if not is_file_name(self.file):
            raise ValueError(f"{self.file!r} is no file's name: a folder or a sign is in it")

    def names(self) -> list[str]:
        """Return the names of all its files."""
        return [self.file] if self.data_sha256 is None else [self.file, f"{self.file}.data"]


@configuration
class ExportConfig:
    """What ``config.json`` of an exported model says.

    Attributes:
        kind: Always ``dinotxt-onnx``.
        version: Of this layout.
        name: What the model was called.
        precision: ``fp32``, or ``int8``: weights in eight bits a channel, activations quantised
            as they come.
        fingerprint: Changes whenever features would; ``fp32`` keeps that of the model.
        embed_dim: The width E of image and text features.
        patch_dim: The width Dp of patch features.
        patch_size: Pixels along a side of a patch.
        in_channels: Channels of a picture.
        dense_start: Where the part of a text feature begins that patches compare with; None: they
            cannot be compared.
        logit_scale: What cosines are multiplied by before the softmax.
        images: The image tower by the side of its square input.
        text: The text tower.
        tokenizer: Of the text tower.
        context_length: The most tokens of a text.
        transform: Of the image tower.
        inference: The model's own settings, as ``InferenceDefaults`` has them.
        versions: Of the programs that made it.
    """

    kind: Literal["dinotxt-onnx"] = "dinotxt-onnx"
    version: Literal[1] = 1
    name: str
    precision: Precision
    fingerprint: str
    embed_dim: Count
    patch_dim: Count
    patch_size: Count
    in_channels: Count
    dense_start: Annotated[int, Field(ge=0)] | None
    logit_scale: float
    images: Annotated[dict[Count, ExportedFile], Field(min_length=1)]
    text: ExportedFile
    tokenizer: ExportedFile
    context_length: Annotated[int, Field(ge=3)]
    transform: TransformConfig
    inference: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


def describe_file(path: Path) -> ExportedFile:
    """Return the entry of a file that was written."""
    data = _data_path(path)
    return ExportedFile(
        file=path.name,
        sha256=sha256_file(path),
        data_sha256=sha256_file(data) if data.is_file() else None,
    )


def write_export(folder: Path, config: ExportConfig) -> None:
    """Write ``config.json``, after all the files that it names."""
    write_json(folder / CONFIG, to_json(config))


def is_export(folder: str | Path) -> bool:
    """Tell if a folder holds an exported model, whole or damaged."""
    path = Path(folder).expanduser() / CONFIG
    try:
        content = read_json(path) if path.is_file() else None
    except DataError:
        return False
    return isinstance(content, dict) and content.get("kind") == KIND


def read_export(folder: str | Path) -> ExportConfig:
    """Read ``config.json`` and check every file that it names.

    Raises:
        CheckpointError: If the folder is no export, or a file is missing or torn.
    """
    folder = Path(folder).expanduser()
    if not is_export(folder):
        message = f"{folder} is no exported model: make one with `dinotxt export --out {folder}`."
        raise CheckpointError(message)
    try:
        config = ExportConfig(**read_json(folder / CONFIG))
    except ConfigError as error:
        message = f"{folder / CONFIG} is damaged or of another version: {error}"
        raise CheckpointError(f"{message}. Export the model again.") from None
    for record in (*config.images.values(), config.text, config.tokenizer):
        path = folder / record.file
        _verify(path, record.sha256)
        if record.data_sha256 is not None:
            _verify(_data_path(path), record.data_sha256)
    return config


def file_names(config: ExportConfig) -> list[str]:
    """Return the names of all files beside the configuration."""
    records = (*config.images.values(), config.text, config.tokenizer)
    return [name for record in records for name in record.names()]


def _data_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.data")


def _verify(path: Path, expected: str) -> None:
    if not path.is_file() or sha256_file(path) != expected:
        message = f"{path} is missing, torn or of another export: copy the whole folder again."
        raise CheckpointError(message)
