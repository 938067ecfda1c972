"""``dinotxt models save`` and ``dinotxt models push``: a model for other people."""

from typing import Annotated

import typer

from dinotxt.cli import options
from dinotxt.cli.session import session

Name = Annotated[str, typer.Argument(help="A named model, or a run, model or export folder.")]
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


def save(
    *,
    name: Name,
    out: Out,
    reports: Reports = None,
    license_name: License = None,
    backbone: Backbone = True,
    json_path: options.Json = None,
    quiet: options.Quiet = False,
) -> None:
    """Write a model as other machines and the Hugging Face hub expect it, with a card."""
    with session("models save", json_path, quiet) as current:
        from dinotxt.checkpoints.pretrained import save_pretrained

        save_pretrained(
            name, out, include_backbone=backbone, reports=reports or (), license_name=license_name
        )
        current.console.print(f"{name} is in {out}", soft_wrap=True, highlight=False)
        current.finish({"model": name, "folder": out})


def push(
    *,
    name: Name,
    repo_id: RepoId,
    private: Private = False,
    reports: Reports = None,
    license_name: License = None,
    backbone: Backbone = True,
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
        )
        current.console.print(url, soft_wrap=True, highlight=False)
        current.finish({"model": name, "repository": repo_id, "commit": url})
