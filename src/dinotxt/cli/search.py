"""``dinotxt search``: find pictures of an index by words, or by a picture."""

import tempfile
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dinotxt.cli import options
from dinotxt.cli.index import Collection, IndexModel, IndexSize
from dinotxt.cli.options import load_encoder
from dinotxt.cli.session import output_file, session

if TYPE_CHECKING:
    from dinotxt.inference.encoder import Encoder
    from dinotxt.results.hit import Hit
    from dinotxt.search.database import DatabaseIndex
    from dinotxt.search.index import ImageIndex

Index = Annotated[
    str, typer.Argument(metavar="INDEX", help="Made by `dinotxt index`, or a database's URL.")
]
Words = Annotated[str | None, typer.Argument(metavar='"WORDS"', help="What to look for.")]
Picture = Annotated[
    str | None, typer.Option("--image", metavar="FILE", help="A picture to look like, not words.")
]
Top = Annotated[int, typer.Option("-k", "--top", min=1, help="How many pictures.")]
InFolder = Annotated[
    list[str] | None, typer.Option("--folder", help="Only pictures of this folder. Repeats.")
]
Since = Annotated[
    str | None, typer.Option(metavar="DATE", help="Only from YYYY, YYYY-MM or YYYY-MM-DD on.")
]
Until = Annotated[str | None, typer.Option(metavar="DATE", help="Only up to this date.")]
Sheet = Annotated[
    str | None, typer.Option(metavar="FILE.html", help="Write a contact sheet of what is found.")
]
Open = Annotated[bool, typer.Option("--open", help="Open the contact sheet in the browser.")]


def search(
    index: Index,
    words: Words = None,
    *,
    image: Picture = None,
    k: Top = 5,
    folder: InFolder = None,
    since: Since = None,
    until: Until = None,
    sheet: Sheet = None,
    open_sheet: Open = False,
    collection: Collection = "pictures",
    model: IndexModel = None,
    device: options.Device = "auto",
    engine: options.Engine = "auto",
    trust_code: options.TrustCode = False,
    batch_size: options.BatchSize = 32,
    num_workers: options.NumWorkers = None,
    size: IndexSize = None,
    json_path: options.Json = None,
    quiet: options.Quiet = False,
) -> None:
    """Print the pictures that fit best, the best first."""
    del batch_size, num_workers  # every verb takes them, and one query is one pass
    if (words is None) == (image is None):
        raise typer.BadParameter('give either "WORDS" or --image FILE.')
    with session("search", json_path, quiet) as current:
        from dinotxt.data.pictures import printable
        from dinotxt.search.where import Filter

        where = Filter.parse(folder or (), since, until)
        own_name, own_size = recorded(index, collection)
        encoder = load_encoder(
            model or own_name,
            device=device,
            engine=engine,
            trust_code=trust_code,
            size=size or own_size,
        )
        searched = open_index(index, collection, encoder)
        hits = searched.search(words, image=image, k=k, where=where)
        for hit in hits:
            line = f"{hit.score:.3f}  {printable(hit.path)}"
            current.console.print(line, highlight=False, markup=False, soft_wrap=True)
        shown = [{"path": printable(hit.path), "score": hit.score} for hit in hits]
        result: dict[str, object] = {"hits": shown, "n": len(searched), "engine": searched.engine}
        if sheet or open_sheet:
            title = words or f"Like {image}"
            result["sheet"] = str(_write_sheet(searched, hits, title, sheet))
            current.console.print(f"contact sheet: {result['sheet']}", soft_wrap=True)
        if open_sheet:
            webbrowser.open(Path(str(result["sheet"])).as_uri())
        current.finish(result)


def recorded(index: str, collection: str) -> tuple[str, int]:
    """Return the name of the model that made an index, and the size of its input in pixels.

    Args:
        index: The folder, or the URL of a database.
        collection: Of the database.
    """
    from dinotxt.search.database import SCHEMES
    from dinotxt.search.database import Collection as DatabaseCollection
    from dinotxt.search.store import Store

    if not index.startswith(SCHEMES):
        own = Store.open(Path(index)).manifest
        return own.model, own.size
    with DatabaseCollection.connect(index, collection) as found:
        known = found.describe()
    return known.model, known.size


def open_index(index: str, collection: str, encoder: "Encoder") -> "ImageIndex | DatabaseIndex":
    """Open an index folder, or a collection of a database by its URL."""
    from dinotxt.search.database import SCHEMES, DatabaseIndex
    from dinotxt.search.database import Collection as DatabaseCollection
    from dinotxt.search.index import ImageIndex

    if index.startswith(SCHEMES):
        return DatabaseIndex(DatabaseCollection.connect(index, collection), encoder)
    return ImageIndex.open(index, encoder=encoder)


def _write_sheet(
    searched: "ImageIndex | DatabaseIndex", hits: "Sequence[Hit]", title: str, path: str | None
) -> Path:
    from dinotxt.data.pictures import printable
    from dinotxt.search.sheet import contact_sheet

    note = f"{len(hits)} best of {len(searched):,} pictures in {searched.name}"
    page = contact_sheet(hits, title=title, note=note, thumbnail=searched.thumbnail)
    target = Path(path) if path else Path(tempfile.mkdtemp(prefix="dinotxt-")) / "search.html"
    with output_file(target, "--sheet") as temporary:
        temporary.write_text(printable(page), "utf-8")
    return target.resolve()
