"""``dinotxt eval``: measure a model on your own data."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dinotxt.cli import options
from dinotxt.cli.options import Group, Shown, Source, grouped
from dinotxt.cli.session import Session, session

if TYPE_CHECKING:
    from dinotxt.evaluation import Options
    from dinotxt.evaluation.job import Task
    from dinotxt.results.report import Report

app = typer.Typer(
    help="Evaluate a model: zero-shot classification, retrieval, segmentation, or its texts.",
    no_args_is_help=True,
)

Data = Annotated[
    str,
    typer.Option(
        "--data",
        "-d",
        help="Tars (globs and braces), a folder, a table, or NAME:FOLDER (#SPLIT) of a published "
        "set, such as ade20k:data/ADEChallengeData2016.",
    ),
]
Tables = Annotated[
    str,
    typer.Option(
        "--data", "-d", help="A TSV or JSONL file named after its task, or a folder of them."
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


class Settings(Group):
    """Options of every evaluation and analysis; those of one add theirs.

    Each is a field of ``evaluation.Options``, with the same default.
    """

    every: Every = 1
    limit: Limit = None
    batch_size: BatchSize = None
    num_workers: options.NumWorkers = None
    size: options.Size = None

    def options(self) -> "Options":
        """Return them as ``evaluate`` takes them."""
        from dinotxt.evaluation import Options

        return Options(**self.to_dict())


class _Retrieval(Settings):
    resume: Resume = None


class Named(Settings):
    """Options of what has class names."""

    classes: Classes = None
    templates: options.Templates = None


class _Classification(Named):
    trim_border: TrimBorder = 0
    resume: Resume = None


class _Segmentation(Named):
    mode: options.Mode = None
    crops: options.Crops = None
    protocol: Protocol = None
    stride: Stride = None
    embedding: options.Embedding = None
    upsample: options.Upsample = "logits"
    background: options.Background = None
    refine: options.Refine = None
    resume: Resume = None


@app.command()
@grouped
def classification(data: Data, settings: _Classification, source: Source, shown: Shown) -> None:
    """Top-1 and top-5 accuracy over class names."""
    _run("classification", data, settings, source, shown)


@app.command()
@grouped
def retrieval(data: Data, settings: _Retrieval, source: Source, shown: Shown) -> None:
    """Recall at 1, 5 and 10 between pictures and captions, both ways."""
    _run("retrieval", data, settings, source, shown)


@app.command()
@grouped
def segmentation(data: Data, settings: _Segmentation, source: Source, shown: Shown) -> None:
    """Mean IoU, IoU by class and pixel accuracy over a folder of pictures and label maps."""
    _run("segmentation", data, settings, source, shown)


@app.command()
@grouped
def text(data: Tables, source: Source, shown: Shown) -> None:
    """The text encoder alone: similarity, pairs, clustering, reranking, classification."""
    with session("text", shown.json_path, shown.quiet) as current:
        from dinotxt.evaluation.text import evaluate_text

        _show(current, evaluate_text(source.load(), data))


def _run(task: "Task", data: str, settings: Settings, source: Source, shown: Shown) -> None:
    with session(task, shown.json_path, shown.quiet) as current:
        from dinotxt.evaluation import evaluate

        encoder = source.load()
        with current.progress(task) as report_progress:
            report = evaluate(
                encoder,
                task=task,
                data=data,
                options=settings.options(),
                on_skip=current.skip,
                progress=report_progress,
            )
        _show(current, report)


def _show(current: Session, report: "Report") -> None:
    current.console.print(report.to_markdown(), markup=False, highlight=False, soft_wrap=True)
    current.finish(report.to_dict(), done=report.n)
