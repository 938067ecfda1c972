"""What is known of a model without building it, as plain JSON values."""

import os
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dinotxt.checkpoints.catalogue import MODELS, NamedModel
from dinotxt.checkpoints.exported import is_export, read_export
from dinotxt.checkpoints.format import read_folder
from dinotxt.checkpoints.hub import cached_path
from dinotxt.checkpoints.registry import find_folder
from dinotxt.checkpoints.sources import WHEELS
from dinotxt.errors import CheckpointError


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
    content, _, state = read_folder(folder)
    path = folder / content["weights"]["file"]
    return {
        "name": name,
        "folder": str(folder),
        "model": content["model"],
        "transform": content["transform"],
        "parameters": sum(value.numel() for value in state.values()),
        "bytes": path.stat().st_size,
        "sha256": content["weights"]["sha256"],
        "versions": content["versions"],
        "extra": content["extra"],
    }


def _describe_export(folder: str) -> dict[str, Any]:
    content = asdict(read_export(folder))
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
    return all(find_spec(wheel.package) is not None for wheel in WHEELS.values())
