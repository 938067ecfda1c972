"""The model card: a README in the hub's form, with the results that were measured."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import yaml

from dinotxt.checkpoints.exported import KIND
from dinotxt.files import atomic_path

_TASKS = {
    "classification": "zero-shot-image-classification",
    "retrieval": "image-text-retrieval",
    "segmentation": "image-segmentation",
}
_NONE = "Nothing was measured."


def write_card(
    folder: Path,
    config: Mapping[str, Any],
    reports: Sequence[Mapping[str, Any]],
    *,
    name: str,
    license_name: str | None = None,
) -> None:
    """Write ``README.md``: metadata for the hub, then a card for people.

    Args:
        folder: The model's folder.
        config: Its ``config.json``.
        reports: Evaluations as ``dinotxt eval --json`` writes them.
        name: What the model is called.
        license_name: An identifier of the hub, such as ``apache-2.0``.
    """
    is_export = config.get("kind") == KIND
    template = Template((files("dinotxt.checkpoints") / "card.md").read_text("utf-8"))
    text = template.substitute(
        name=name,
        summary=_summary(is_export),
        parts="\n".join(f"| {part} | {text} |" for part, text in _parts(config, is_export)),
        results=_results(reports),
        training=_training(config),
        license=license_name or "Not stated: ask the people who trained it.",
    )
    metadata = yaml.safe_dump(_metadata(reports, name, license_name, is_export), sort_keys=False)
    with atomic_path(folder / "README.md") as temporary:
        temporary.write_text(f"---\n{metadata}---\n\n{text}", "utf-8")


def _metadata(
    reports: Sequence[Mapping[str, Any]], name: str, license_name: str | None, is_export: bool
) -> dict[str, Any]:
    content: dict[str, Any] = {
        "library_name": "dinotxt",
        "pipeline_tag": "zero-shot-image-classification",
        "tags": [
            "dino.txt",
            "vision-language",
            "open-vocabulary",
            *(["onnx"] if is_export else []),
        ],
    }
    if license_name is not None:
        content["license"] = license_name
    results = [_index_entry(report) for report in reports]
    if results:
        content["model-index"] = [{"name": name, "results": results}]
    return content


def _index_entry(report: Mapping[str, Any]) -> dict[str, Any]:
    data = str(report["data"])
    scalars = {key: value for key, value in report["metrics"].items() if _is_number(value)}
    return {
        "task": {"type": _TASKS.get(report["task"].removeprefix("eval ").strip(), report["task"])},
        "dataset": {"type": Path(data).stem.lower(), "name": data},
        "metrics": [{"type": key, "value": value} for key, value in scalars.items()],
    }


def _summary(is_export: bool) -> str:
    engine = "ONNX Runtime, without torch" if is_export else "PyTorch"
    return (
        "A vision backbone aligned with language by the method of"
        " [DINOv2 Meets Text](https://arxiv.org/abs/2412.16334) (dino.txt): it classifies, searches"
        f" and segments pictures by words. It runs on {engine}, with the library `dinotxt`."
    )


def _parts(config: Mapping[str, Any], is_export: bool) -> list[tuple[str, str]]:
    if is_export:
        sizes = ", ".join(str(size) for size in config["images"])
        return [
            ("image tower", f"ONNX, square pictures of {sizes} pixels, {config['precision']}"),
            ("text tower", f"ONNX, up to {config['context_length']} tokens"),
            ("features", f"{config['embed_dim']} wide, patches {config['patch_dim']}"),
        ]
    model = config["model"]
    head, text = model["vision_head"], model["text_encoder"]
    kind = text.get("name") or f"transformer, {text['layers']} layers of {text['width']}"
    frozen = "frozen" if model["backbone"]["frozen"] else "trained"
    weights = model["backbone"]["weights"]
    return [
        ("backbone", f"`{model['backbone']['name']}`, {frozen}, weights `{weights}`"),
        ("vision head", f"{head['num_blocks']} blocks, pooling `{head['pooling']}`"),
        ("text encoder", f"`{kind}`" if text.get("name") else kind),
        ("input", f"{config['transform']['size']} pixels, `{config['transform']['resize']}`"),
        ("frozen weights", f"SHA-256 `{config['frozen_sha256']}`, checked when it is loaded"),
    ]


def _results(reports: Sequence[Mapping[str, Any]]) -> str:
    if not reports:
        return _NONE
    rows = ["| data | pictures | metric | value | 95% interval |", "|---|---:|---|---:|---|"]
    for report in reports:
        for metric, value in report["metrics"].items():
            if _is_number(value):
                bounds = report.get("ci", {}).get(metric)
                interval = f"{bounds[0]:.4f} to {bounds[1]:.4f}" if bounds else ""
                cells = (f"`{report['data']}`", report["n"], metric, f"{value:.4f}", interval)
                rows.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(rows)


def _training(config: Mapping[str, Any]) -> str:
    extra = config.get("extra", {})
    metrics = {key: value for key, value in extra.get("metrics", {}).items() if _is_number(value)}
    step = f"{extra['step']} steps. " if "step" in extra else ""
    if not metrics:
        return step + "No validation figures were kept."
    figures = ", ".join(f"{key} {value:.4f}" for key, value in metrics.items())
    return f"{step}On the validation pairs that were set apart: {figures}."


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
