"""``dinotxt models``: list, describe, fetch, convert and share models."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.table import Column, Table

from dinotxt.cli import options
from dinotxt.cli.session import session
from dinotxt.errors import ConfigError

if TYPE_CHECKING:
    from dinotxt.checkpoints.layouts import Layout


app = typer.Typer(help="List, describe, fetch, convert and share models.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="A named model, or a run, model or export folder.")]
File = Annotated[str | None, typer.Option(metavar="FILE|URL", help="One of Meta's files.")]
Heads = Annotated[int | None, typer.Option(min=1, help="Attention heads (default: width / 64).")]


@app.command("list")
def list_(*, json_path: options.Json = None, quiet: options.Quiet = False) -> None:
    """List the models that are known by name."""
    from dinotxt.checkpoints.registry import list_models

    with session("models list", json_path, quiet) as current:
        models = list_models()
        columns = ("name", "backbone", "text_encoder", "source", "available")
        table = Table(*columns)
        for model in models:
            cells = (model[key] for key in columns[:-1])
            table.add_row(*cells, "yes" if model["available"] else "no")
        current.console.print(table)
        current.finish({"models": models})


@app.command()
def info(*, name: Name, json_path: options.Json = None, quiet: options.Quiet = False) -> None:
    """Describe a model without building it."""
    from dinotxt.checkpoints.registry import describe

    with session("models info", json_path, quiet) as current:
        content = describe(name)
        table = Table("key", Column("value", overflow="fold"))
        for key, value in content.items():
            table.add_row(key, _lines(value))
        current.console.print(table)
        current.finish(content)


def _lines(value: object) -> str:
    """Return a value as text: a mapping as one line a key."""
    if isinstance(value, Mapping):
        value = "\n".join(f"{key}: {item}" for key, item in value.items())
    return escape(str(value))


@app.command()
def fetch(
    *,
    source: Annotated[
        str, typer.Argument(metavar="NAME|URL", help="A named model, or the URL of a file.")
    ],
    sha256: Annotated[str | None, typer.Option(help="The hash that the file must have.")] = None,
    json_path: options.Json = None,
    quiet: options.Quiet = False,
) -> None:
    """Bring a model's files to this machine and check their hashes."""
    from dinotxt.checkpoints.hub import fetch as fetch_file
    from dinotxt.checkpoints.hub import file_hash
    from dinotxt.checkpoints.registry import fetch_named

    with session("models fetch", json_path, quiet) as current:
        with current.progress("bytes") as report:
            if "://" in source or Path(source).is_file():
                paths = [fetch_file(source, sha256=sha256, progress=report)]
            elif sha256 is not None:
                raise ConfigError("--sha256 belongs to one file: give its URL or path.")
            else:
                paths = fetch_named(source, progress=report)
        files = [{"path": str(path), "sha256": file_hash(path)} for path in paths]
        for file in files:
            current.console.print(f"{file['sha256']}  {file['path']}", soft_wrap=True)
        current.finish({"files": files})


@app.command()
def convert(
    *,
    out: Annotated[str, typer.Option("--out", "-o", metavar="DIR", help="Where the files go.")],
    backbone: File = None,
    vision_head: File = None,
    text_encoder: File = None,
    vision_head_and_text_encoder: File = None,
    vision_num_heads: Heads = None,
    text_num_heads: Heads = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="A model folder to write as Meta's files.")
    ] = None,
    layout: Annotated[
        Literal["dinov2", "dinov3"], typer.Option("--to", help="Whose layout, with --model.")
    ] = "dinov2",
    suffix: Annotated[
        Literal["pth", "safetensors"], typer.Option("--format", help="Of Meta's files.")
    ] = "pth",
    json_path: options.Json = None,
    quiet: options.Quiet = False,
) -> None:
    """Turn Meta's files into a model folder, or (with --model) a folder into Meta's files."""
    with session("models convert", json_path, quiet) as current:
        if model is not None:
            files = _to_meta(model, out, layout, suffix)
        elif backbone is not None:
            arguments: dict[str, Any] = {
                "backbone": backbone,
                "vision_head": vision_head,
                "text_encoder": text_encoder,
                "vision_head_and_text_encoder": vision_head_and_text_encoder,
                "vision_num_heads": vision_num_heads,
                "text_num_heads": text_num_heads,
            }
            files = _from_meta(out, arguments)
        else:
            raise ConfigError("Give --backbone and Meta's other files, or --model with a folder.")
        for path in files:
            current.console.print(path, soft_wrap=True)
        current.finish({"files": files})


def _from_meta(out: str, arguments: dict[str, Any]) -> list[str]:
    from dinotxt.checkpoints import meta
    from dinotxt.checkpoints.meta import from_meta

    from_meta(meta.read(**arguments), out)
    return sorted(str(path) for path in Path(out).iterdir() if path.is_file())


def _to_meta(model: str, out: str, layout: "Layout", suffix: str) -> list[str]:
    from dinotxt.checkpoints.catalogue import find_folder
    from dinotxt.checkpoints.meta import to_meta

    folder = find_folder(model)
    if folder is None:
        raise ConfigError(f"{model} is Meta's own already: use its files as they are.")
    return [str(path) for path in to_meta(folder, out, layout=layout, suffix=suffix)]


RepoId = Annotated[str, typer.Argument(metavar="OWNER/NAME", help="A model of the hub.")]
Out = Annotated[str, typer.Option("--out", "-o", metavar="DIR", help="Where the files go.")]
Reports = Annotated[
    list[str] | None,
    typer.Option("--report", metavar="FILE", help="JSON of `dinotxt eval`, for the card. Repeats."),
]
License = Annotated[
    str | None, typer.Option("--license", metavar="ID", help="Such as apache-2.0, for the card.")
]
Backbone = Annotated[
    bool, typer.Option("--backbone/--no-backbone", help="Copy a frozen backbone's local file.")
]
Private = Annotated[bool, typer.Option("--private", help="Only you see a new repository.")]


@app.command()
def save(
    *,
    name: Name,
    out: Out,
    reports: Reports = None,
    license_name: License = None,
    backbone: Backbone = True,
    trust_code: options.TrustCode = False,
    json_path: options.Json = None,
    quiet: options.Quiet = False,
) -> None:
    """Write a model as other machines and the Hugging Face hub expect it, with a card."""
    with session("models save", json_path, quiet) as current:
        from dinotxt.checkpoints.pretrained import save_pretrained

        save_pretrained(
            name,
            out,
            include_backbone=backbone,
            reports=reports or (),
            license_name=license_name,
            trust_code=trust_code,
        )
        current.console.print(f"{name} is in {out}", soft_wrap=True, highlight=False)
        current.finish({"model": name, "folder": out})


@app.command()
def push(
    *,
    name: Name,
    repo_id: RepoId,
    private: Private = False,
    reports: Reports = None,
    license_name: License = None,
    backbone: Backbone = True,
    trust_code: options.TrustCode = False,
    json_path: options.Json = None,
    quiet: options.Quiet = False,
) -> None:
    """Send a model to the Hugging Face hub, with a card."""
    with session("models push", json_path, quiet) as current:
        from dinotxt.checkpoints.pretrained import push_to_hub

        url = push_to_hub(
            name,
            repo_id,
            private=private,
            include_backbone=backbone,
            reports=reports or (),
            license_name=license_name,
            trust_code=trust_code,
        )
        current.console.print(url, soft_wrap=True, highlight=False)
        current.finish({"model": name, "repository": repo_id, "commit": url})
