"""Models by name: what ``load`` and the command line accept."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dinotxt.checkpoints import meta
from dinotxt.checkpoints.catalogue import MODELS, NamedModel, find_folder, lite_folder
from dinotxt.checkpoints.exported import is_export, read_export
from dinotxt.checkpoints.folder import read_config
from dinotxt.checkpoints.format import LoadedModel, load_model, read_weights
from dinotxt.checkpoints.hub import cached_path, fetch, file_hash
from dinotxt.checkpoints.sources import build_tokenizer
from dinotxt.checkpoints.wheels import WHEELS, shipped_file, wheel_files
from dinotxt.config import to_json
from dinotxt.data.pictures import TransformConfig
from dinotxt.errors import CheckpointError, ConfigError
from dinotxt.results.skip import Progress

if TYPE_CHECKING:
    from dinotxt.checkpoints.baselines import LoadedBaseline


def resolve(name: str, *, trust_code: bool = False) -> "LoadedModel | LoadedBaseline":
    """Load a model by name or from a run or model folder.

    Args:
        name: A key of ``MODELS``, a folder, ``openclip:NAME/PRETRAINED`` or ``groupvit:NAME``.
        trust_code: Whether a function that a folder names as its backbone may be called.

    Raises:
        ConfigError: If the name is unknown and no folder.
        CheckpointError: If its weights are missing, damaged or do not fit.
        BackendError: If it needs a package that is not installed.
    """
    if name.startswith("openclip:"):
        from dinotxt.checkpoints.baselines import load_openclip

        return load_openclip(name)
    if name.startswith("groupvit:"):
        from dinotxt.checkpoints.baselines import load_groupvit

        return load_groupvit(name)
    folder = find_folder(name)
    if folder is not None:
        return replace(load_model(folder, trust_code=trust_code), name=name)
    return _load_meta(MODELS[name], fetch_files(name))


def fetch_named(name: str, *, progress: Progress | None = None) -> list[Path]:
    """Bring all files of a named model to this machine and return them.

    Raises:
        ConfigError: If the name is unknown.
        CheckpointError: If a file cannot be had or has another hash than is known.
        BackendError: If the wheels of the lite model are not installed.
    """
    if name not in MODELS:
        raise ConfigError(f"{name!r} is not known: choose from {', '.join(MODELS)}.")
    if name == "lite":
        frozen = [*wheel_files("efficientnet-lite2"), *map(shipped_file, WHEELS)]
        return frozen + sorted(path for path in lite_folder().iterdir() if path.is_file())
    return list(fetch_files(name, progress=progress).values())


def fetch_files(name: str, *, progress: Progress | None = None) -> dict[str, Path]:
    """Bring Meta's files of a named model to this machine, by argument of ``meta.load``.

    Raises:
        CheckpointError: If a file cannot be had; the message says where to put it.
    """
    model = MODELS[name]
    paths = {key: fetch(url, progress=progress) for key, url in model.urls.items()}
    return paths | {key: _find(pattern, name) for key, pattern in model.patterns.items()}


def _find(pattern: str, name: str) -> Path:
    folder = os.environ.get("DINOTXT_WEIGHTS")
    found = sorted(Path(folder).glob(pattern)) if folder else []
    if not found:
        message = (
            f"{name} needs {pattern}, which Meta gives on request: put it into a folder and set"
            " DINOTXT_WEIGHTS to that folder."
        )
        raise CheckpointError(message)
    return fetch(found[-1])


def _load_meta(model: NamedModel, paths: Mapping[str, Any]) -> LoadedModel:
    weights = meta.read(**paths)
    transform = TransformConfig()
    hashes = [transform.fingerprint, *(file_hash(path) for path in paths.values())]
    return LoadedModel(
        model=meta.build(weights),
        tokenizer=build_tokenizer(weights.config),
        transform=transform,
        config=weights.config,
        name=model.name,
        fingerprint=hashlib.sha256(" ".join(hashes).encode()).hexdigest(),
        extra={},
    )


def list_models() -> list[dict[str, Any]]:
    """Return every named model with what it is made of and whether its files are here."""
    return [
        {
            "name": model.name,
            "backbone": model.backbone,
            "text_encoder": model.text_encoder,
            "source": model.source,
            "available": _is_available(model),
        }
        for model in MODELS.values()
    ]


def describe(name: str) -> dict[str, Any]:
    """Describe a named model, or a run, model or export folder.

    Raises:
        ConfigError: If the name is unknown and no folder.
        CheckpointError: If a folder is damaged.
    """
    if name not in MODELS and is_export(name):
        return {"name": name, **_describe_export(name)}
    folder = find_folder(name)
    if folder is None:
        model = MODELS[name]
        places = {key: str(cached_path(url)) for key, url in model.urls.items()}
        entry = next(one for one in list_models() if one["name"] == name)
        return {**entry, "files": {**model.urls, **model.patterns}, "cached": places}
    content = read_config(folder)
    state = read_weights(folder, content)
    known = to_json(content)
    return {
        "name": name,
        "folder": str(folder),
        "model": known["model"],
        "transform": known["transform"],
        "parameters": sum(value.numel() for value in state.values()),
        "bytes": (folder / content.weights.file).stat().st_size,
        "sha256": content.weights.sha256,
        "versions": content.versions,
        "extra": content.extra,
    }


def _describe_export(folder: str) -> dict[str, Any]:
    content = to_json(read_export(folder))
    sets = content["inference"].pop("template_sets", {})
    return {"exported_from": content.pop("name"), **content, "template_sets": sorted(sets)}


def _is_available(model: NamedModel) -> bool:
    if model.name == "lite":
        return _lite_is_available()
    provided = Path(os.environ.get("DINOTXT_WEIGHTS") or os.devnull)
    urls = all(
        cached_path(url).is_file() or (provided / url.rpartition("/")[2]).is_file()
        for url in model.urls.values()
    )
    return urls and all(any(provided.glob(pattern)) for pattern in model.patterns.values())


def _lite_is_available() -> bool:
    try:
        find_folder("lite")
    except CheckpointError:
        return False
    return find_spec(WHEELS["efficientnet-lite2"].package) is not None
