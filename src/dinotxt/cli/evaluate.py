"""``dinotxt eval``: measure a model on your own data."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import typer

from dinotxt.cli import options
from dinotxt.cli.model import load_encoder
from dinotxt.cli.session import session

app = typer.Typer(
    help="Evaluate a model: zero-shot classification, retrieval or segmentation.",
    no_args_is_help=True,
)

Data = Annotated[
    str,
    typer.Option(
        "--data",
        "-d",
        help="Tars (globs and braces), a folder, a table, or NAME:FOLDER[#SPLIT] of a published "
        "set, such as ade20k:data/ADEChallengeData2016.",
    ),
]
Classes = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE",
        help="Class names (default: those of the data): a list such as imagenet or ade20k:full, a "
        "variant of the data's own such as full, synonyms or common, or a file.",
    ),
]
Every = Annotated[int, typer.Option(min=1, help="Only every N-th picture of the sorted list.")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most so many pictures.")]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Pictures or windows a forward pass.")]
Protocol = Annotated[Literal["tcl", "dinov3"] | None, typer.Option(help="A published protocol.")]
TrimBorder = Annotated[
    int, typer.Option(min=0, metavar="N", help="Pixels off each side, for ObjectNet's red border.")
]
Resume = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="Keep what is done here; the same command goes on with it."),
]
Stride = Annotated[int | None, typer.Option(min=1, help="Pixels between windows.")]


@app.command()
def classification(
    *,
    data: Data,
    classes: Classes = None,
    templates: options.Templates = None,
    trim_border: TrimBorder = 0,
    every: Every = 1,
    limit: Limit = None,
    resume: Resume = None,
    model: options.Model = "lite",
    device: options.Device = "auto",
    batch_size: BatchSize = None,
    num_workers: options.NumWorkers = None,
    size: options.Size = None,
    json_path: options.Json = None,
    quiet: options.Quiet = False,
) -> None:
    """Top-1 and top-5 accuracy over class names."""
    settings: dict[str, Any] = {"classes": classes, "templates": templates, "size": size}
    settings |= {"every": every, "limit": limit, "batch_size": batch_size, "resume": resume}
    settings |= {"trim_border": trim_border}
    _run("classification", data, model, device, json_path, quiet, num_workers, settings)


@app.command()
def retrieval(
    *,
    data: Data,
    every: Every = 1,
    limit: Limit = None,
    resume: Resume = None,
    model: options.Model = "lite",
    device: options.Device = "auto",
    batch_size: BatchSize = None,
    num_workers: options.NumWorkers = None,
    size: options.Size = None,
    json_path: options.Json = None,
    quiet: options.Quiet = False,
) -> None:
    """Recall at 1, 5 and 10 between pictures and captions, both ways."""
    settings: dict[str, Any] = {"size": size, "every": every, "limit": limit}
    settings |= {"batch_size": batch_size, "resume": resume}
    _run("retrieval", data, model, device, json_path, quiet, num_workers, settings)


@app.command()
def segmentation(
    *,
    data: Data,
    classes: Classes = None,
    templates: options.Templates = None,
    mode: options.Mode = None,
    crops: options.Crops = None,
    protocol: Protocol = None,
    stride: Stride = None,
    embedding: options.Embedding = None,
    upsample: options.Upsample = "logits",
    background: options.Background = None,
    refine: options.Refine = None,
    every: Every = 1,
    limit: Limit = None,
    resume: Resume = None,
    model: options.Model = "lite",
    device: options.Device = "auto",
    batch_size: BatchSize = None,
    num_workers: options.NumWorkers = None,
    size: options.Size = None,
    json_path: options.Json = None,
    quiet: options.Quiet = False,
) -> None:
    """Mean IoU, IoU by class and pixel accuracy over a folder of pictures and label maps."""
    settings: dict[str, Any] = {
        "classes": classes,
        "templates": templates,
        "size": size,
        "mode": mode,
    }
    settings |= {"protocol": protocol, "stride": stride, "crops": crops, "upsample": upsample}
    settings |= {"background": background, "refine": refine, "every": every, "limit": limit}
    settings |= {"batch_size": batch_size, "embedding": embedding, "resume": resume}
    _run("segmentation", data, model, device, json_path, quiet, num_workers, settings)


def _run(
    task: Any,
    data: str,
    model: str,
    device: str,
    json_path: str | None,
    quiet: bool,
    num_workers: int | None,
    settings: Mapping[str, Any],
) -> None:
    with session(task, json_path, quiet) as current:
        from dinotxt.evaluation import evaluate

        encoder = load_encoder(model, device=device)
        with current.progress(task) as report_progress:
            report = evaluate(
                encoder,
                task=task,
                data=data,
                on_skip=current.skip,
                progress=report_progress,
                num_workers=num_workers,
                **settings,
            )
        current.console.print(report.to_markdown(), markup=False, highlight=False, soft_wrap=True)
        current.finish(report.to_dict(), done=report.n)
