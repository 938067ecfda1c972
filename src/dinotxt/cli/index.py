"""``dinotxt index``: make the pictures of a folder searchable, or bring their index up to date."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dinotxt.cli import options
from dinotxt.cli.options import load_encoder
from dinotxt.cli.session import session

if TYPE_CHECKING:
    from dinotxt.search.index import IndexSettings

Folder = Annotated[str, typer.Argument(metavar="FOLDER", help="Pictures, in any depth.")]
Out = Annotated[str, typer.Option("--out", "-o", metavar="INDEX", help="The folder of the index.")]
IndexModel = Annotated[
    str | None,
    typer.Option("--model", "-m", help="A model (default: the index's own; lite for a new one)."),
]
IndexSize = Annotated[
    int | None, typer.Option(min=1, help="Input size in pixels (default: the index's own).")
]
IndexEngine = Annotated[
    Literal["auto", "exact", "hnsw", "ivf-pq"] | None,
    typer.Option(help="How it is searched; hnsw and ivf-pq use faiss (default: by its size)."),
]
Small = Annotated[
    bool | None,
    typer.Option("--thumbnails/--no-thumbnails", help="Keep small copies (default: as before)."),
]
Database = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        envvar="DINOTXT_DATABASE",
        help="Also copy the index into PostgreSQL with pgvector: postgresql://USER@HOST/NAME.",
    ),
]
Collection = Annotated[str, typer.Option(metavar="NAME", help="Which collection of the database.")]

_SIDE = 400


def index(
    folder: Folder,
    *,
    out: Out,
    engine: IndexEngine = None,
    thumbnails: Small = None,
    database: Database = None,
    collection: Collection = "pictures",
    model: IndexModel = None,
    device: options.Device = "auto",
    trust_code: options.TrustCode = False,
    batch_size: options.BatchSize = 32,
    num_workers: options.NumWorkers = None,
    size: IndexSize = None,
    json_path: options.Json = None,
    quiet: options.Quiet = False,
) -> None:
    """Index the pictures of a folder; the same command updates the index or goes on with it."""
    with session("index", json_path, quiet) as current:
        from dinotxt.search.database import Collection as DatabaseCollection
        from dinotxt.search.database import push
        from dinotxt.search.index import ImageIndex
        from dinotxt.search.store import recorded_model

        target = DatabaseCollection.connect(database, collection) if database else None
        own_name, own_size = recorded_model(Path(out)) or ("lite", None)
        name = model or own_name
        encoder = load_encoder(name, device=device, size=size or own_size, trust_code=trust_code)
        if Path(name).is_dir():
            place = str(Path(name).resolve())  # so that a search finds the model by itself
            encoder = replace(encoder, name=place)
        with current.progress("index") as report:
            built = ImageIndex.build(
                encoder,
                folder,
                out,
                batch_size=batch_size,
                num_workers=num_workers,
                settings=_settings(engine, thumbnails),
                progress=report,
                on_skip=current.skip,
            )
        added, changed, deleted = built.changes
        current.console.print(
            f"{len(built)} pictures in {out}: {added} added, {changed} changed, {deleted} deleted; "
            f"the search is {built.engine}",
            highlight=False,
            soft_wrap=True,
        )
        counts = {"added": added, "changed": changed, "deleted": deleted}
        result = {"index": out, "n": len(built), **counts, "engine": built.engine}
        if target is not None:
            with current.progress("database") as report, target:
                sent = push(out, target, progress=report, on_skip=current.skip)
            result["database"] = {"collection": collection, "n": sent.total, "sent": sent.sent}
            current.console.print(f"{sent.sent} sent to the database", highlight=False)
        current.finish(result, done=len(built))


def _settings(engine: IndexEngine, thumbnails: bool | None) -> "IndexSettings":
    from dinotxt.search.index import IndexSettings

    sides = {None: None, True: _SIDE, False: 0}
    return IndexSettings(engine=engine, thumbnails=sides[thumbnails])
