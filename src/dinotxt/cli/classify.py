"""``dinotxt classify``: which of some labels fits each picture best."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from dinotxt.cli import options
from dinotxt.cli.options import load_encoder, read_labels
from dinotxt.cli.session import output_file, session

if TYPE_CHECKING:
    from dinotxt.results.classification import Classification

Images = Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Files, folders, patterns.")]
Csv = Annotated[str | None, typer.Option("--csv", metavar="FILE", help="Write a row a label.")]
Top = Annotated[
    int | None,
    typer.Option("-k", "--top", min=1, help="Labels a picture (default: 5 shown, all written)."),
]
_SHOWN = 5


def classify(
    images: Images,
    *,
    labels: options.Labels = None,
    labels_file: options.LabelsFile = None,
    templates: options.Templates = None,
    top: Top = None,
    csv_path: Csv = None,
    model: options.Model = "lite",
    device: options.Device = "auto",
    engine: options.Engine = "auto",
    trust_code: options.TrustCode = False,
    batch_size: options.BatchSize = 32,
    num_workers: options.NumWorkers = None,
    size: options.Size = None,
    json_path: options.Json = None,
    quiet: options.Quiet = False,
) -> None:
    """Choose among labels for each picture, with probabilities."""
    with session("classify", json_path, quiet) as current:
        from dinotxt.cli.options import expand_pictures
        from dinotxt.inference.classifier import ZeroShotClassifier

        names = read_labels(labels, labels_file)
        paths = expand_pictures(images, current.skip)
        results: list[Classification] = []
        if paths:
            encoder = load_encoder(
                model, device=device, engine=engine, trust_code=trust_code, size=size
            )
            with current.progress("labels") as report:
                known = encoder.encode_labels(names, templates, progress=report)
            predict = ZeroShotClassifier(
                encoder, known, batch_size=batch_size, num_workers=num_workers
            )
            kept = top if json_path or csv_path else top or _SHOWN
            with current.progress("classify") as report:
                for one in predict.classify_many(paths, on_skip=current.skip, progress=report):
                    results.append(replace(one, labels=one.labels[:kept]))
        _show(current.console, results, top or _SHOWN)
        if csv_path is not None:
            _write_csv(csv_path, results, top)
        current.finish({"results": [_plain(one, top) for one in results]}, done=len(results))


def _show(console: Console, results: Sequence["Classification"], top: int) -> None:
    if not results:
        return
    table = Table(header_style="bold", pad_edge=False)
    table.add_column("picture", overflow="fold")
    table.add_column("label", overflow="fold")
    table.add_column("probability", justify="right")
    table.add_column("similarity", justify="right")
    for result in results:
        for place, label in enumerate(result.labels[:top]):
            name = _escape(result.image) if place == 0 else ""
            figures = (f"{label.probability:.1%}", f"{label.similarity:.3f}")
            table.add_row(name, _escape(label.label), *figures, style="" if place == 0 else "dim")
        table.add_section()
    console.print(table)


def _write_csv(path: str, results: Sequence["Classification"], top: int | None) -> None:
    with (
        output_file(path, "--csv") as temporary,
        temporary.open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow(["image", "label", "probability", "similarity"])
        for result in results:
            writer.writerows([_printable(result.image), *label] for label in result.labels[:top])


def _plain(result: "Classification", top: int | None) -> dict[str, Any]:
    labels = [label._asdict() for label in result.labels[:top]]
    return {"image": _printable(result.image), "labels": labels}


def _printable(path: str) -> str:
    from dinotxt.data.pictures import printable

    return printable(path)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(_printable(text))
