"""``dinotxt segment``: a label for every pixel, as label maps and overlays."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from dinotxt.cli import options
from dinotxt.cli.classify import Images
from dinotxt.cli.labels import read_labels
from dinotxt.cli.session import Session, session
from dinotxt.errors import ConfigError, DataError
from dinotxt.files import atomic_path

if TYPE_CHECKING:
    from PIL import Image

    from dinotxt.inference.dense import Mode
    from dinotxt.inference.encoder import Encoder
    from dinotxt.inference.segmenter import Segmenter
    from dinotxt.results.segmentation import Segmentation

Out = Annotated[str, typer.Option("--out", "-o", metavar="DIR", help="For the PNG files.")]
Background = Annotated[
    float | None,
    typer.Option(metavar="T", help="Below this cosine a pixel stays unlabelled."),
]
Soft = Annotated[bool, typer.Option("--soft", help="Write each label's own mask too.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Windows or crops a forward pass.")]
Size = Annotated[
    int | None,
    typer.Option(min=1, help="Short side of the input, or side of a window or crop, in pixels."),
]
Seconds = Annotated[
    float | None,
    typer.Option(metavar="S", help="A time a picture instead of --crops, by a measured rate."),
]
_SHOWN = 6


def segment(
    images: Images,
    *,
    out: Out,
    labels: options.Labels = None,
    labels_file: options.LabelsFile = None,
    templates: options.Templates = None,
    mode: options.Mode = None,
    crops: options.Crops = None,
    seconds: Seconds = None,
    background: Background = None,
    upsample: options.Upsample = "logits",
    embedding: options.Embedding = None,
    soft: Soft = False,
    model: options.Model = "lite",
    device: options.Device = "auto",
    batch_size: BatchSize = 8,
    num_workers: options.NumWorkers = None,
    size: Size = None,
    json_path: options.Json = None,
    quiet: options.Quiet = False,
) -> None:
    """Label every pixel of each picture; write label maps and overlays with a legend."""
    with session("segment", json_path, quiet) as current:
        from dinotxt.cli.pictures import expand_pictures
        from dinotxt.inference.encoder import load
        from dinotxt.inference.segmenter import Segmenter

        names = read_labels(labels, labels_file)
        paths = expand_pictures(images, current.skip)
        results: list[dict[str, Any]] = []
        budget: dict[str, Any] = {}
        if paths:
            encoder = load(model, device=device)
            look = _mode(encoder, mode, size, crops, seconds, batch_size)
            budget = _budget(current.console, look)
            predict = Segmenter(
                encoder,
                names,
                mode=look,
                templates=templates,
                background=background,
                upsample=upsample,
                embedding=embedding,
                soft=soft,
                batch_size=batch_size,
            )
            results = _run(current, predict, paths, Path(out), num_workers)
        _show(current.console, results)
        current.finish({**budget, "results": results}, done=len(results))


def _mode(
    encoder: "Encoder",
    name: str | None,
    size: int | None,
    crops: int | None,
    seconds: float | None,
    batch_size: int,
) -> "Mode":
    from dinotxt.inference.highres import HighRes, crops_within
    from dinotxt.inference.modes import find_mode

    mode = find_mode(name, encoder.defaults, size=size, crops=crops)
    if seconds is None:
        return mode
    if crops is not None or not isinstance(mode, HighRes):
        raise ConfigError("--seconds goes with --mode highres and stands in for --crops.")
    return crops_within(encoder, seconds, mode, batch_size=batch_size)


def _budget(console: Console, mode: "Mode") -> dict[str, Any]:
    """Print and return how many crops there are and how many of them see a pixel."""
    from dinotxt.inference.highres import HighRes

    if not isinstance(mode, HighRes):
        return {}
    visits = round(mode.visits, 1)
    console.print(f"{mode.crops} crops a picture, {visits} visits a pixel", highlight=False)
    return {"crops": mode.crops, "visits": visits}


def _run(
    current: Session,
    predict: "Segmenter",
    paths: Sequence[str],
    out: Path,
    num_workers: int | None,
) -> list[dict[str, Any]]:
    results = []
    names = _unique_names(paths)
    with current.progress("segment") as report:
        for position, result in predict.segment_many(
            paths, num_workers=num_workers, on_skip=current.skip
        ):
            results.append(_write(result, paths[position], out, names[position]))
            report(position + 1, len(paths))
    return results


def _write(result: "Segmentation", path: str, out: Path, name: str) -> dict[str, Any]:
    from dinotxt.search.scan import printable

    label_map, overlay = out / f"{name}_labels.png", out / f"{name}_overlay.png"
    try:
        result.save_label_map(label_map)
        _save(result.overlay(path), overlay)
        soft = _write_soft(result, out, name)
    except OSError as error:
        message = f"{out} cannot be written ({error.strerror or error}): choose another --out."
        raise DataError(message) from error
    height, width = result.label_map.shape
    return {
        "image": printable(path),
        "size": [width, height],
        "label_map": printable(label_map),
        "overlay": printable(overlay),
        "areas": dict(result.areas),
        **({"soft": soft} if soft else {}),
    }


def _write_soft(result: "Segmentation", out: Path, name: str) -> dict[str, str]:
    """Write each label's mask as 8-bit grey, 255 for a sure fit."""
    import numpy as np
    from PIL import Image

    from dinotxt.search.scan import printable

    written: dict[str, str] = {}
    if result.scores is None:
        return written
    for position, label in enumerate(result.labels):
        slug = re.sub(r"[^\w-]+", "-", label).strip("-")[:40]
        path = out / f"{name}_soft-{position:03d}-{slug}.png"
        grey = np.rint(result.mask(label) * 255).astype(np.uint8)
        _save(Image.fromarray(grey), path)
        written[label] = printable(path)
    return written


def _save(picture: "Image.Image", path: Path) -> None:
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG")


def _unique_names(paths: Sequence[str]) -> list[str]:
    """Return the stem of each file; from the second of a stem on with a number."""
    names: list[str] = []
    taken: set[str] = set()
    for path in paths:
        stem = name = Path(path).stem
        number = 2
        while name.casefold() in taken:
            name, number = f"{stem}-{number}", number + 1
        taken.add(name.casefold())
        names.append(name)
    return names


def _show(console: Console, results: Sequence[dict[str, Any]]) -> None:
    from rich.markup import escape

    if not results:
        return
    table = Table(header_style="bold", pad_edge=False)
    table.add_column("picture", overflow="fold")
    table.add_column("areas", overflow="fold")
    table.add_column("overlay", overflow="fold")
    for result in results:
        order = sorted(result["areas"].items(), key=lambda pair: -pair[1])
        areas = [f"{label} {share:.1%}" for label, share in order[:_SHOWN] if share > 0]
        cells = (result["image"], ", ".join(areas) or "unlabelled", result["overlay"])
        table.add_row(*(escape(cell) for cell in cells))
    console.print(table)
