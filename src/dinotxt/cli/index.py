"""``dinotxt index``: make the pictures of a folder searchable, or bring their index up to date."""

from pathlib import Path
from typing import Annotated

import typer

from dinotxt.cli import options
from dinotxt.cli.session import session

Folder = Annotated[str, typer.Argument(metavar="FOLDER", help="Pictures, in any depth.")]
Out = Annotated[str, typer.Option("--out", "-o", metavar="INDEX", help="The folder of the index.")]
IndexModel = Annotated[
    str | None,
    typer.Option("--model", "-m", help="A model (default: the index's own; lite for a new one)."),
]
IndexSize = Annotated[
    int | None, typer.Option(min=1, help="Input size in pixels (default: the index's own).")
]


def index(
    folder: Folder,
    *,
    out: Out,
    model: IndexModel = None,
    device: options.Device = "auto",
    batch_size: options.BatchSize = 32,
    num_workers: options.NumWorkers = None,
    size: IndexSize = None,
    json_path: options.Json = None,
    quiet: options.Quiet = False,
) -> None:
    """Index the pictures of a folder; the same command updates the index or goes on with it."""
    with session("index", json_path, quiet) as current:
        from dinotxt.inference.encoder import load
        from dinotxt.search.index import ImageIndex
        from dinotxt.search.store import recorded_model

        own_name, own_size = recorded_model(Path(out)) or ("lite", None)
        name = model or own_name
        encoder = load(name, device=device, size=size or own_size)
        if Path(name).is_dir():
            encoder.name = str(Path(name).resolve())  # so that a search finds the model by itself
        with current.progress("index") as report:
            built = ImageIndex.build(
                encoder,
                folder,
                out,
                batch_size=batch_size,
                num_workers=num_workers,
                progress=report,
                on_skip=current.skip,
            )
        added, changed, deleted = built.changes
        current.console.print(
            f"{len(built)} pictures in {out}: {added} added, {changed} changed, {deleted} deleted",
            highlight=False,
            soft_wrap=True,
        )
        counts = {"added": added, "changed": changed, "deleted": deleted}
        current.finish({"index": out, "n": len(built), **counts}, done=len(built))
