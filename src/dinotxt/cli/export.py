"""``dinotxt export``: a model as ONNX files, for machines without torch."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from dinotxt.cli import options
from dinotxt.cli.session import session

if TYPE_CHECKING:
    from dinotxt.checkpoints.exported import Precision
    from dinotxt.export.verify import Comparison

Out = Annotated[str, typer.Option("--out", "-o", metavar="DIR", help="For the files.")]
Sizes = Annotated[
    list[int] | None,
    typer.Option("--size", min=1, help="Side of the square input (default: the model's). Repeats."),
]
Int8 = Annotated[bool, typer.Option("--int8/--no-int8", help="Write DIR/int8, too.")]
Verify = Annotated[
    bool, typer.Option("--verify", help="Print the speed and the cosine of every file.")
]
BatchSize = Annotated[int, typer.Option(min=1, help="Pictures a pass, for --verify.")]


def export(
    *,
    out: Out,
    model: options.Model = "lite",
    trust_code: options.TrustCode = False,
    size: Sizes = None,
    int8: Int8 = True,
    verify: Verify = False,
    batch_size: BatchSize = 4,
    json_path: options.Json = None,
    quiet: options.Quiet = False,
) -> None:
    """Write image-SIZE.onnx, text.onnx, tokenizer.json and config.json; int8 lies in DIR/int8.

    `--model DIR` (or `--model DIR/int8`) works in every verb, and torch is not needed for it.
    """
    with session("export", json_path, quiet) as current:
        from dinotxt.export.folder import export as write
        from dinotxt.export.verify import verify as compare

        precisions: list[Precision] = ["fp32", "int8"] if int8 else ["fp32"]
        with current.progress("files") as report:
            done = write(
                model,
                out,
                sizes=size or (),
                precisions=precisions,
                progress=report,
                trust_code=trust_code,
            )
        files: list[dict[str, Any]] = [
            {"precision": precision, "file": str(path), "bytes": path.stat().st_size}
            for precision, folder in done.folders.items()
            for path in sorted(folder.glob("*.onnx*"))
        ]
        for file in files:
            line = f"{file['bytes'] / 1e6:8.1f} MB  {file['file']}"
            current.console.print(line, highlight=False, markup=False, soft_wrap=True)
        payload: dict[str, Any] = {"folder": out, "sizes": list(done.sizes), "files": files}
        if verify:
            folders = list(done.folders.values())
            rows = compare(model, folders, batch_size=batch_size, trust_code=trust_code)
            _show(current.console, rows)
            payload["verify"] = [row.to_dict() for row in rows]
        current.finish(payload)


def _show(console: Console, rows: Sequence["Comparison"]) -> None:
    table = Table(header_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for name in ("file", "bits", "output"):
        table.add_column(name, no_wrap=True)
    for name in ("cosine", "worst", "a second", "torch", "times"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.file,
            row.precision,
            row.output,
            f"{row.cosine:.5f}",
            f"{row.worst_cosine:.5f}",
            _rate(row.rate),
            _rate(row.torch_rate),
            f"{row.speedup:.2f}",
        )
    console.print(table)


def _rate(value: float) -> str:
    return f"{value:.1f}" if value < 1000 else f"{value:.0f}"
