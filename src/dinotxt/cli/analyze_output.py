"""What ``dinotxt analyze`` prints, and the pictures that it draws."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from dinotxt.cli.session import Session, output_file

if TYPE_CHECKING:
    from dinotxt.evaluation.analysis import Finding

_NUM_ROWS = 20


def draw_examples(found: "Finding", folder: Path | None) -> list[str]:
    """Draw the examples as numbered PNG files and return their paths.

    Raises:
        DataError: If the folder cannot be written.
    """
    files: list[str] = []
    for number, example in enumerate(found.examples if folder else (), start=1):
        assert folder is not None
        path = folder / f"{number:02d}-{Path(example.image).stem}.png"
        with output_file(path, "--pictures") as temporary:
            example.draw().save(temporary, format="PNG")
        files.append(str(path))
    return files


def with_files(found: "Finding", files: Sequence[str]) -> dict[str, Any]:
    """Return the JSON of what was found, each drawn example with its file."""
    content = found.to_dict()
    for example, file in zip(content["examples"], files, strict=False):
        example["file"] = file
    return content


def show(current: Session, found: "Finding") -> None:
    """Print the report, its details and what the examples show."""
    text = found.report.to_markdown()
    current.console.print(text, markup=False, highlight=False, soft_wrap=True)
    for name, rows in found.details.items():
        if isinstance(rows, list) and rows:
            _table(current.console, name, rows)
    for one in found.examples:
        line = f"{one.image}: {one.shows}, {one.value:.3f}"
        current.console.print(line, markup=False, highlight=False, soft_wrap=True)


def _table(console: Console, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    from rich.markup import escape

    table = Table(title=name.replace("_", " "), header_style="bold", pad_edge=False)
    for column in rows[0]:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows[:_NUM_ROWS]:
        table.add_row(*(escape(_cell(value)) for value in row.values()))
    console.print(table)


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
