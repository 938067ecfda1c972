"""``dinotxt curate``: balance captions and pictures, step by step or all at once."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from dinotxt.cli import options
from dinotxt.cli.session import Session, session
from dinotxt.results.skip import Skip

if TYPE_CHECKING:
    from dinotxt.curation.pipeline import Verb

app = typer.Typer(
    help="Balance captions and pictures together; steps that are done are not done again.",
    no_args_is_help=True,
)

File = Annotated[Path, typer.Argument(metavar="FILE.yaml", help="The curation.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[key=value ...]", help="Changes, such as text.threshold=200."),
]
Epoch = Annotated[int, typer.Option(min=0, help="The epoch to draw.")]
Manifest = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Also write the kept pairs as .parquet, .csv or .jsonl."),
]


@app.command()
def metadata(
    file: File,
    overrides: Overrides = None,
    *,
    json_path: options.Json = None,
    quiet: options.Quiet = False,
) -> None:
    """Build the list that captions are matched against."""
    _run("metadata", file, overrides, json_path, quiet)


@app.command()
def match(
    file: File,
    overrides: Overrides = None,
    *,
    json_path: options.Json = None,
    quiet: options.Quiet = False,
) -> None:
    """Find the entries of every caption and count them."""
    _run("match", file, overrides, json_path, quiet)


@app.command()
def balance(
    file: File,
    overrides: Overrides = None,
    *,
    json_path: options.Json = None,
    quiet: options.Quiet = False,
) -> None:
    """Turn the counts into a keep probability a caption."""
    _run("balance", file, overrides, json_path, quiet)


@app.command()
def embed(
    file: File,
    overrides: Overrides = None,
    *,
    json_path: options.Json = None,
    quiet: options.Quiet = False,
) -> None:
    """Embed every distinct picture."""
    _run("embed", file, overrides, json_path, quiet)


@app.command()
def cluster(
    file: File,
    overrides: Overrides = None,
    *,
    json_path: options.Json = None,
    quiet: options.Quiet = False,
) -> None:
    """Cluster the pictures and turn the clusters into keep probabilities."""
    _run("cluster", file, overrides, json_path, quiet)


@app.command()
def draw(
    file: File,
    overrides: Overrides = None,
    *,
    epoch: Epoch = 0,
    manifest: Manifest = None,
    json_path: options.Json = None,
    quiet: options.Quiet = False,
) -> None:
    """Draw an epoch: the sorted ids of the pairs that it keeps."""
    _run("draw", file, overrides, json_path, quiet, epoch=epoch, manifest=manifest)


@app.command()
def run(
    file: File,
    overrides: Overrides = None,
    *,
    epoch: Epoch = 0,
    json_path: options.Json = None,
    quiet: options.Quiet = False,
) -> None:
    """Do all steps, draw an epoch and write the report."""
    _run("run", file, overrides, json_path, quiet, epoch=epoch)


def _run(
    verb: "Verb",
    file: Path,
    overrides: list[str] | None,
    json_path: str | None,
    quiet: bool,
    *,
    epoch: int = 0,
    manifest: Path | None = None,
) -> None:
    with session("curate", json_path, quiet) as current:
        from dinotxt.config import load_config
        from dinotxt.curation.config import CurationConfig
        from dinotxt.curation.keep import manifest_writer, write_manifest
        from dinotxt.curation.pipeline import curate

        config = load_config(CurationConfig, file, overrides or [])
        if manifest is not None:
            manifest_writer(manifest)  # a wrong ending is found before the work
        with current.progress(verb) as report:
            result = curate(config, verb, epoch=epoch, progress=lambda _, *done: report(*done))
        if manifest is not None:
            write_manifest(config.output, epoch, manifest)
            result["files"].append(str(manifest))
        for skip in result.pop("skipped", []):
            current.skip(Skip(**skip))
        _print(current, result)
        if not result["n_out"]:
            current.errors.print(f"warning: {verb} leaves no record; the reasons say why.")
        current.finish(result, done=result["n_out"])


def _print(current: Session, result: dict[str, Any]) -> None:
    table = Table("stage", "in", "out", "left out")
    for stage in [*result.get("stages", []), result]:
        reasons = "; ".join(f"{reason}: {count:,}" for reason, count in stage["reasons"].items())
        table.add_row(stage["stage"], f"{stage['n_in']:,}", f"{stage['n_out']:,}", reasons)
    current.console.print(table)
    for line in _details(result.get("details", {})):
        current.console.print(line, highlight=False)


def _details(details: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each figure of a stage, such as the composition of the metadata."""
    for name, value in details.items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{key} {count:,}" for key, count in value.items())
        elif isinstance(value, list):
            if value and isinstance(value[0], Mapping):
                continue  # tables of the report
            value = ", ".join(f"{one:,}" for one in value)
        elif not isinstance(value, str):
            is_large = isinstance(value, int) or value >= 1000
            value = f"{value:,.0f}" if is_large else f"{value:,.4g}"
        if value:
            yield f"{name.replace('_', ' ')}: {value}"
