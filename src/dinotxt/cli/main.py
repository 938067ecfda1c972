"""The entry point: ``dinotxt VERB``."""

import sys
from typing import Annotated

import typer

from dinotxt import __version__
from dinotxt.cli import analyze, curate, evaluate, models
from dinotxt.cli.cache import cache
from dinotxt.cli.classify import classify
from dinotxt.cli.doctor import doctor
from dinotxt.cli.export import export
from dinotxt.cli.index import index
from dinotxt.cli.plan import plan
from dinotxt.cli.search import search
from dinotxt.cli.segment import segment
from dinotxt.cli.serve import serve
from dinotxt.cli.train import train

app = typer.Typer(
    name="dinotxt",
    help="Classify, search and segment pictures by words; train your own model on your own pairs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dinotxt {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    del version


app.add_typer(analyze.app, name="analyze")
app.command("cache")(cache)
app.command("classify")(classify)
app.add_typer(curate.app, name="curate")
app.command("doctor")(doctor)
app.add_typer(evaluate.app, name="eval")
app.command("export")(export)
app.command("index")(index)
app.add_typer(models.app, name="models")
app.command("plan")(plan)
app.command("search")(search)
app.command("segment")(segment)
app.command("serve")(serve)
app.command("train")(train)


def main() -> None:
    """Run the command line; `package.module:function` may lie in the current folder."""
    sys.path.append("")  # last, so that a file there stands for no module of ours
    app()
