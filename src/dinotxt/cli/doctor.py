"""``dinotxt doctor``: what is installed, what is missing and how to get it."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dinotxt.cli import options
from dinotxt.cli.session import EXIT_FAILED, session

if TYPE_CHECKING:
    from dinotxt.cli.diagnosis import Finding


def doctor(*, json_path: options.Json = None, quiet: options.Quiet = False) -> None:
    """Print versions, devices, extras and models, what is missing and how to get it."""
    with session("doctor", json_path, quiet) as current:
        from dinotxt.cli import diagnosis

        content: dict[str, Any] = {
            "machine": diagnosis.machine(),
            "packages": diagnosis.packages(),
            "devices": diagnosis.devices(),
            "extras": diagnosis.extras(),
            "models": diagnosis.models(),
            "folders": diagnosis.folders(),
            "environment": diagnosis.environment(),
        }
        found = diagnosis.findings(content)
        _show(current.console, content)
        _show_findings(current.console, found)
        current.finish({**content, "findings": [asdict(finding) for finding in found]})
        if any(finding.is_error for finding in found):
            raise typer.Exit(EXIT_FAILED)


def _show(console: Console, content: dict[str, Any]) -> None:
    machine = content["machine"]
    memory = f", {machine['memory'] / 2**30:.0f} GiB" if machine["memory"] else ""
    about = f"Python {machine['python']}, {machine['platform']}, {machine['cores']} cores{memory}"
    versions = [f"{name} {known or 'MISSING'}" for name, known in content["packages"].items()]
    rows = [
        ("machine", about),
        ("packages", ", ".join(versions) or "not installed as a package"),
        *((f"{one['engine']} on {one['device']}", one["detail"]) for one in content["devices"]),
        *(
            (f"extra {one['extra']}", "lacks " + ", ".join(one["missing"]))
            if one["missing"]
            else (f"extra {one['extra']}", "there")
            for one in content["extras"]
        ),
        *(
            (f"model {one['name']}", "there" if one["available"] else f"not here: {one['source']}")
            for one in content["models"]
        ),
        *(
            (one["name"], f"{one['path']}, {one['free'] / 2**30:.0f} GiB free")
            for one in content["folders"]
        ),
        *content["environment"].items(),
    ]
    table = Table(show_header=False, pad_edge=False, box=None)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row(escape(name), escape(text))
    console.print(table)


def _show_findings(console: Console, findings: Sequence["Finding"]) -> None:
    console.print()
    if not findings:
        console.print("Nothing is missing.", style="green")
    for finding in findings:
        style = "red" if finding.is_error else "yellow"
        console.print(finding.what, style=style, markup=False, highlight=False, soft_wrap=True)
        console.print(f"    {finding.fix}", markup=False, highlight=False, soft_wrap=True)
