"""``dinotxt analyze``: where a model's segmentations go wrong, and what would mend them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from dinotxt.cli import options
from dinotxt.cli.evaluate import Data, Named, Settings
from dinotxt.cli.options import Shown, Source, grouped
from dinotxt.cli.session import Session, output_file, session
from dinotxt.errors import ConfigError, DataError
from dinotxt.files import Results

if TYPE_CHECKING:
    from dinotxt.evaluation import Job
    from dinotxt.evaluation.analysis import Finding
    from dinotxt.text.wordnet.lexicon import Lexicon

app = typer.Typer(
    help="Error analyses of segmentation: boundaries, class names, embeddings, kinds of errors.",
    no_args_is_help=True,
)
Pictures = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Draw the pictures that show it best into this folder."),
]
SearchData = Annotated[
    str, typer.Option("--search", metavar="DATA", help="Search names on these pictures.")
]
Out = Annotated[
    Path, typer.Option("--out", "-o", metavar="FILE", help="For the names, one class a line.")
]
Vocabulary = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Words to choose from, one a line (default: WordNet nouns)."),
]
Method = Annotated[
    Literal["synonym", "nearest"],
    typer.Option(help="Add the word that helps most as a synonym, or take the nearest (paper)."),
]
Candidates = Annotated[int, typer.Option(min=1, help="Words tried near each class name.")]
Override = Annotated[
    list[str] | None,
    typer.Option(metavar="CLASS=NAME", help="A name set by hand and not searched. Repeats."),
]
WordNet = Annotated[
    Path | None,
    typer.Option(
        "--wordnet",
        metavar="DIR",
        help="WordNet's files (default: /usr/share/wordnet of Debian's wordnet-base).",
    ),
]
_NUM_ROWS = 20


class _Boundaries(Named):
    crops: options.Crops = None
    embedding: options.Embedding = None


class _Embeddings(Named):
    mode: options.Mode = None
    crops: options.Crops = None


class _AnyMode(_Embeddings):
    embedding: options.Embedding = None


class _Shown(Shown):
    pictures: Pictures = None


@app.command()
@grouped
def boundaries(data: Data, settings: _Boundaries, source: Source, shown: _Shown) -> None:
    """High-resolution mIoU, and with the truth's masks for segments: the topline."""

    def analyse(job: "Job") -> "Finding":
        from dinotxt.evaluation.analysis import analyze_boundaries

        return analyze_boundaries(job)

    _run("boundaries", analyse, data, settings, source, shown)


@app.command("class-names")
@grouped
def class_names(
    data: Data,
    search: SearchData,
    out: Out,
    settings: _AnyMode,
    source: Source,
    shown: _Shown,
    vocabulary: Vocabulary = None,
    method: Method = "synonym",
    candidates: Candidates = 20,
    override: Override = None,
) -> None:
    """Search better class names on one data set, score them on another, write them."""

    def analyse(job: "Job") -> "Finding":
        from dinotxt.evaluation.analysis import Search, analyze_class_names

        wanted = Search(
            data=search,
            vocabulary=vocabulary,
            method=method,
            candidates=candidates,
            overrides=_overrides(override or []),
        )
        found = analyze_class_names(job, wanted)
        _write_names(out, [row["name"] for row in found.details["names"]])
        return found

    _run("class-names", analyse, data, settings, source, shown)


@app.command()
@grouped
def embeddings(data: Data, settings: _Embeddings, source: Source, shown: _Shown) -> None:
    """Mean IoU of each embedding of a patch that the model has (the paper's Table 8)."""

    def analyse(job: "Job") -> "Finding":
        from dinotxt.evaluation.analysis import analyze_embeddings

        return analyze_embeddings(job)

    _run("embeddings", analyse, data, settings, source, shown)


@app.command()
@grouped
def errors(
    data: Data, settings: _AnyMode, source: Source, shown: _Shown, wordnet: WordNet = None
) -> None:
    """Confusions, errors between part and whole, and labels that the context suggests."""

    def analyse(job: "Job") -> "Finding":
        from dinotxt.evaluation.analysis import analyze_errors

        return analyze_errors(job, _lexicon(job, wordnet))

    _run("errors", analyse, data, settings, source, shown)


def _lexicon(job: "Job", folder: Path | None) -> "Lexicon | None":
    """Return WordNet; where it is in no usual place it is reported as skipped."""
    from dinotxt.results.skip import Skip
    from dinotxt.text.wordnet.lexicon import DEBIAN, Lexicon

    try:
        return Lexicon(folder)
    except DataError as error:
        if folder is not None:
            raise
        job.skip(Skip(str(DEBIAN), str(error)))
        return None


def _run(
    kind: str,
    analyse: Callable[["Job"], "Finding"],
    data: str,
    settings: Settings,
    source: Source,
    shown: _Shown,
) -> None:
    with session(f"analyze {kind}", shown.json_path, shown.quiet) as current:
        from dinotxt.evaluation import Job

        chosen = settings.options()
        encoder = source.load()
        with current.progress(kind) as report_progress:
            job = Job(
                task="segmentation",
                encoder=encoder,
                data=data,
                options=chosen,
                on_skip=current.skip,
                on_progress=report_progress,
            )
            found = analyse(job)
        files = _draw_examples(found, shown.pictures)
        _show(current, found)
        current.finish(_with_files(found, files), done=found.report.n)


def _overrides(given: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in given:
        label, equals, name = (part.strip() for part in entry.partition("="))
        if not (label and equals and name):
            raise ConfigError(f"--override {entry!r}: give CLASS=NAME.")
        found[label] = name
    return found


def _write_names(path: Path, names: Sequence[str]) -> None:
    with output_file(path, "--out") as temporary:
        temporary.write_text("\n".join(names) + "\n", "utf-8")


def _draw_examples(found: "Finding", folder: Path | None) -> list[str]:
    """Draw the examples as numbered PNG files and return their paths.

    Raises:
        DataError: If the folder cannot be written.
    """
    files: list[str] = []
    written = Results("analyze")
    for number, example in enumerate(found.examples if folder else (), start=1):
        assert folder is not None
        path = folder / f"{number:02d}-{Path(example.image).stem}.png"
        with output_file(path, "--pictures") as temporary:
            written.add(path)
            example.draw().save(temporary, format="PNG")
        files.append(str(path))
    return files


def _with_files(found: "Finding", files: Sequence[str]) -> dict[str, Any]:
    """Return the JSON of what was found, each drawn example with its file."""
    content = found.to_dict()
    for example, file in zip(content["examples"], files, strict=False):
        example["file"] = file
    return content


def _show(current: Session, found: "Finding") -> None:
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
