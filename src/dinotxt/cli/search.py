"""``dinotxt search``: find pictures of an index by words, or by a picture."""

from pathlib import Path
from typing import Annotated

import typer

from dinotxt.cli import options
from dinotxt.cli.index import IndexModel, IndexSize
from dinotxt.cli.session import session

Index = Annotated[str, typer.Argument(metavar="INDEX", help="Made by `dinotxt index`.")]
Words = Annotated[str | None, typer.Argument(metavar='"WORDS"', help="What to look for.")]
Picture = Annotated[
    str | None, typer.Option("--image", metavar="FILE", help="A picture to look like, not words.")
]
Top = Annotated[int, typer.Option("-k", "--top", min=1, help="How many pictures.")]


def search(
    index: Index,
    words: Words = None,
    *,
    image: Picture = None,
    k: Top = 5,
    model: IndexModel = None,
    device: options.Device = "auto",
    size: IndexSize = None,
    json_path: options.Json = None,
    quiet: options.Quiet = False,
) -> None:
    """Print the pictures that fit best, the best first."""
    if (words is None) == (image is None):
        raise typer.BadParameter('give either "WORDS" or --image FILE.')
    with session("search", json_path, quiet) as current:
        from dinotxt.inference.encoder import load
        from dinotxt.search.index import ImageIndex
        from dinotxt.search.scan import printable
        from dinotxt.search.store import Store

        own = Store.open(Path(index)).manifest
        encoder = load(model or own.model, device=device, size=size or own.size)
        hits = ImageIndex.open(index, encoder=encoder).search(words, image=image, k=k)
        for hit in hits:
            line = f"{hit.score:.3f}  {printable(hit.path)}"
            current.console.print(line, highlight=False, markup=False, soft_wrap=True)
        shown = [{"path": printable(hit.path), "score": hit.score} for hit in hits]
        current.finish({"hits": shown})
