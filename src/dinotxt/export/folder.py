"""Write a model as ONNX files that ``dinotxt.load`` reads where torch is not installed."""

import hashlib
import platform
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import torch

from dinotxt import __version__
from dinotxt.checkpoints.exported import (
    CONFIG,
    TOKENIZER,
    ExportConfig,
    Precision,
    describe_file,
    file_names,
    is_export,
    read_export,
    write_export,
)
from dinotxt.checkpoints.format import LoadedModel
from dinotxt.checkpoints.registry import resolve
from dinotxt.checkpoints.replacing import replacing
from dinotxt.errors import CheckpointError, ConfigError
from dinotxt.export.graph import quantize, write_onnx
from dinotxt.export.modules import ImageTower, baked_positions, traceable_text
from dinotxt.inference.defaults import InferenceDefaults, read_defaults
from dinotxt.models.dinotxt import DinoTxt
from dinotxt.results.skip import Progress
from dinotxt.text.prompt import template_sets, templates
from dinotxt.text.tokenizer import Tokenizer

_TEXT = "text.onnx"
_EXAMPLES = ["a photo of a dog", "two red boats on a lake in the evening", "rain"]


@dataclass(frozen=True, slots=True)
class Export:
    """What was written.

    Attributes:
        folder: The exported model.
        sizes: Sides of the square pictures that it takes.
        folders: The folder of each precision: fp32 is the folder itself, int8 lies inside it.
    """

    folder: Path
    sizes: tuple[int, ...]
    folders: dict[Precision, Path]


def export(
    model: str,
    folder: str | Path,
    *,
    sizes: Sequence[int] = (),
    precisions: Sequence[Precision] = ("fp32", "int8"),
    progress: Progress | None = None,
    trust_code: bool = False,
) -> Export:
    """Write ``image-SIZE.onnx``, ``text.onnx``, ``tokenizer.json`` and ``config.json``.

    The same files with weights of eight bits go into ``FOLDER/int8``. Each fp32 file is compared
    with the model, and an earlier export in the folder stays until all files of the new one are
    there.

    Args:
        model: A named model, or a run or model folder.
        folder: Where the files go: new, empty, or of an earlier export.
        sizes: Sides of the square inputs; none: what the model uses for labels and for windows.
        precisions: ``fp32``, or both.
        progress: Called with the files done and to do.
        trust_code: Whether a function that the model names as its backbone may be called.

    Raises:
        ConfigError: If the patch does not divide a size, or the model is not one of dinotxt's own.
        CheckpointError: If the model is missing or cannot be traced.
        BackendError: If the packages of the extra ``onnx`` are missing.
        DataError: If the folder holds anything else.
    """
    loaded = resolve(model, trust_code=trust_code)
    if not isinstance(loaded, LoadedModel):
        raise ConfigError(f"{model} is another library's model: export one of dinotxt's own.")
    if "fp32" not in precisions or set(precisions) - set(get_args(Precision)):
        raise ConfigError("precisions: give fp32, or fp32 and int8.")
    defaults = read_defaults(loaded.extra)
    chosen = check_sizes(sizes or default_sizes(loaded, defaults), loaded.model.patch_size)
    report = _Steps(progress, (len(chosen) + 1) * len(precisions))
    target = Path(folder).expanduser()
    folders: dict[Precision, Path] = {"fp32": target}
    earlier = _files_of(target)
    with replacing(target, "an exported model", is_export) as staging:
        config = _write_fp32(loaded, defaults, chosen, staging, report)
        if "int8" in precisions:
            folders["int8"] = target / "int8"
            _write_int8(config, staging, staging / "int8", report)
    for path in earlier - {file for one in folders.values() for file in _files_of(one)}:
        path.unlink(missing_ok=True)
    return Export(target, tuple(chosen), folders)


def default_sizes(loaded: LoadedModel, defaults: InferenceDefaults) -> list[int]:
    """Return the size for classification and retrieval, and those for segmentation."""
    patch = loaded.model.patch_size
    sides = [defaults.size or loaded.transform.size, defaults.window]
    if defaults.short_side is not None:
        sides.append(defaults.short_side)
    return sorted({max(1, round(side / patch)) * patch for side in sides})


def check_sizes(sizes: Sequence[int], patch_size: int) -> list[int]:
    """Return the sizes in order, each once.

    Raises:
        ConfigError: If the patch does not divide one of them.
    """
    for size in sizes:
        if size < 1 or size % patch_size:
            near = max(1, round(size / patch_size)) * patch_size
            message = f"size {size} does not divide into patches of {patch_size}: give {near}."
            raise ConfigError(message)
    return sorted(set(sizes))


class _Steps:
    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._done, self._total = progress, 0, total

    def step(self) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._total)


def _write_fp32(
    loaded: LoadedModel, defaults: InferenceDefaults, sizes: list[int], folder: Path, report: _Steps
) -> ExportConfig:
    model = loaded.model.cpu().eval()
    images = {}
    for size in sizes:
        path = folder / f"image-{size}.onnx"
        _write_image(model, size, path)
        images[size] = describe_file(path)
        report.step()
    _write_text(model, loaded.tokenizer, folder / _TEXT)
    report.step()
    loaded.tokenizer.save(folder / TOKENIZER)
    config = ExportConfig(
        name=loaded.name,
        precision="fp32",
        fingerprint=loaded.fingerprint,
        embed_dim=model.embed_dim,
        patch_dim=model.patch_dim(),
        patch_size=model.patch_size,
        in_channels=model.backbone.config.in_channels,
        dense_start=_dense_start(model),
        logit_scale=float(model.logit_scale.detach().exp()),
        images=images,
        text=describe_file(folder / _TEXT),
        tokenizer=describe_file(folder / TOKENIZER),
        context_length=loaded.tokenizer.context_length,
        transform=loaded.transform,
        inference=_settings(loaded, defaults),
        versions=_versions(),
    )
    write_export(folder, config)
    return config


def _files_of(folder: Path) -> set[Path]:
    """Return the files of an export and of the one in eight bits inside it; damaged ones have none.

    A folder that holds none at all has no files either.
    """
    found = set[Path]()
    for place in (folder, folder / "int8"):
        if is_export(place):
            with suppress(CheckpointError):
                config = read_export(place)
                found |= {place / name for name in (*file_names(config), CONFIG)}
    return found


def _write_image(model: DinoTxt, size: int, path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(2, model.backbone.config.in_channels, size, size, generator=generator)
    with baked_positions(model, size):
        write_onnx(
            ImageTower(model),
            {"pixels": pixels},
            ["image_features", "patch_features"],
            path,
            dynamic={"pixels": (0,)},
        )


def _write_text(model: DinoTxt, tokenizer: Tokenizer, path: Path) -> None:
    tokens = tokenizer(_EXAMPLES)
    with traceable_text(model) as tower:
        write_onnx(
            tower,
            {
                "token_ids": torch.from_numpy(tokens.ids),
                "lengths": torch.from_numpy(tokens.lengths),
            },
            ["text_features"],
            path,
            dynamic={"token_ids": (0, 1), "lengths": (0,)},
        )


def _write_int8(config: ExportConfig, source: Path, folder: Path, report: _Steps) -> None:
    folder.mkdir()
    images = {}
    for size, record in config.images.items():
        quantize(source / record.file, folder / record.file)
        images[size] = describe_file(folder / record.file)
        report.step()
    quantize(source / _TEXT, folder / _TEXT)
    report.step()
    Tokenizer.from_file(source / TOKENIZER, config.context_length).save(folder / TOKENIZER)
    text = describe_file(folder / _TEXT)
    parts = [config.fingerprint, text.sha256, *(images[size].sha256 for size in sorted(images))]
    quantized = replace(
        config,
        precision="int8",
        fingerprint=hashlib.sha256(" ".join(parts).encode()).hexdigest(),
        images=images,
        text=text,
        tokenizer=describe_file(folder / TOKENIZER),
    )
    write_export(folder, quantized)


def _dense_start(model: DinoTxt) -> int | None:
    """Return where the part of a text feature begins that patches compare with."""
    places = torch.arange(model.embed_dim, dtype=torch.float32)
    try:
        return int(model.dense_text(places.unsqueeze(0))[0, 0])
    except ConfigError:
        return None


def _settings(loaded: LoadedModel, defaults: InferenceDefaults) -> dict[str, Any]:
    """Return the model's settings with the templates themselves, which open_clip brings else."""
    sets = {name: templates(name) for name in template_sets()}
    settings = dict(loaded.extra.get("inference", {}))
    return {**settings, "template_sets": {**sets, **defaults.template_sets}}


def _versions() -> dict[str, str]:
    packages = ("torch", "onnx", "onnxscript", "onnxruntime")
    found = {name: version(name) for name in packages}
    return {"dinotxt": __version__, "python": platform.python_version(), **found}
