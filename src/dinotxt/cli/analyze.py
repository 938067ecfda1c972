"""``dinotxt analyze``: where a model's segmentations go wrong, and what would mend them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dinotxt.cli import options
from dinotxt.cli.analyze_output import draw_examples, show, with_files
from dinotxt.cli.evaluate import BatchSize, Classes, Data, Every, Limit
from dinotxt.cli.model import load_encoder
from dinotxt.cli.session import output_file, session
from dinotxt.errors import ConfigError, DataError

if TYPE_CHECKING:
    from dinotxt.evaluation.analysis import Finding
    from dinotxt.evaluation.job import Job
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


@app.command()
def boundaries(
    *,
    data: Data,
    classes: Classes = None,
    templates: options.Templates = None,
    crops: options.Crops = None,
    embedding: options.Embedding = None,
    every: Every = 1,
    limit: Limit = None,
    pictures: Pictures = None,
    model: options.Model = "lite",
    device: options.Device = "auto",
    batch_size: BatchSize = None,
    num_workers: options.NumWorkers = None,
    size: options.Size = None,
    json_path: options.Json = None,
    quiet: options.Quiet = False,
) -> None:
    """High-resolution mIoU, and with the truth's masks for segments: the topline."""
    settings: dict[str, Any] = {"classes": classes, "templates": templates, "crops": crops}
    settings |= {"embedding": embedding, "every": every, "limit": limit, "size": size}
    settings |= {"batch_size": batch_size, "num_workers": num_workers}

    def analyse(job: "Job") -> "Finding":
        from dinotxt.evaluation.analysis import analyze_boundaries

        return analyze_boundaries(job)

    _run("boundaries", analyse, data, model, device, json_path, quiet, pictures, settings)


@app.command("class-names")
def class_names(
    *,
    data: Data,
    search: SearchData,
    out: Out,
    vocabulary: Vocabulary = None,
    method: Method = "synonym",
    candidates: Candidates = 20,
    override: Override = None,
    classes: Classes = None,
    templates: options.Templates = None,
    mode: options.Mode = None,
    crops: options.Crops = None,
    embedding: options.Embedding = None,
    every: Every = 1,
    limit: Limit = None,
    pictures: Pictures = None,
    model: options.Model = "lite",
    device: options.Device = "auto",
    batch_size: BatchSize = None,
    num_workers: options.NumWorkers = None,
    size: options.Size = None,
    json_path: options.Json = None,
    quiet: options.Quiet = False,
) -> None:
    """Search better class names on one data set, score them on another, write them."""
    settings: dict[str, Any] = {"classes": classes, "templates": templates, "mode": mode}
    settings |= {"crops": crops, "embedding": embedding, "every": every, "limit": limit}
    settings |= {"size": size, "batch_size": batch_size, "num_workers": num_workers}

    def analyse(job: "Job") -> "Finding":
        from dinotxt.evaluation.analysis import Search, analyze_class_names

        found = analyze_class_names(
            job,
            Search(
                data=search,
                vocabulary=vocabulary,
                method=method,
                candidates=candidates,
                overrides=_overrides(override or []),
            ),
        )
        _write_names(out, [row["name"] for row in found.details["names"]])
        return found

    _run("class-names", analyse, data, model, device, json_path, quiet, pictures, settings)


@app.command()
def embeddings(
    *,
    data: Data,
    classes: Classes = None,
    templates: options.Templates = None,
    mode: options.Mode = None,
    crops: options.Crops = None,
    every: Every = 1,
    limit: Limit = None,
    pictures: Pictures = None,
    model: options.Model = "lite",
    device: options.Device = "auto",
    batch_size: BatchSize = None,
    num_workers: options.NumWorkers = None,
    size: options.Size = None,
    json_path: options.Json = None,
    quiet: options.Quiet = False,
) -> None:
    """Mean IoU of each embedding of a patch that the model has (the paper's Table 8)."""
    settings: dict[str, Any] = {"classes": classes, "templates": templates, "mode": mode}
    settings |= {"crops": crops, "every": every, "limit": limit, "size": size}
    settings |= {"batch_size": batch_size, "num_workers": num_workers}

    def analyse(job: "Job") -> "Finding":
        from dinotxt.evaluation.analysis import analyze_embeddings

        return analyze_embeddings(job)

    _run("embeddings", analyse, data, model, device, json_path, quiet, pictures, settings)


@app.command()
def errors(
    *,
    data: Data,
    classes: Classes = None,
    templates: options.Templates = None,
    mode: options.Mode = None,
    crops: options.Crops = None,
    embedding: options.Embedding = None,
    wordnet: WordNet = None,
    every: Every = 1,
    limit: Limit = None,
    pictures: Pictures = None,
    model: options.Model = "lite",
    device: options.Device = "auto",
    batch_size: BatchSize = None,
    num_workers: options.NumWorkers = None,
    size: options.Size = None,
    json_path: options.Json = None,
    quiet: options.Quiet = False,
) -> None:
    """Confusions, errors between part and whole, and labels that the context suggests."""
    settings: dict[str, Any] = {"classes": classes, "templates": templates, "mode": mode}
    settings |= {"crops": crops, "embedding": embedding, "every": every, "limit": limit}
    settings |= {"size": size, "batch_size": batch_size, "num_workers": num_workers}

    def analyse(job: "Job") -> "Finding":
        from dinotxt.evaluation.analysis import analyze_errors

        return analyze_errors(job, _lexicon(job, wordnet))

    _run("errors", analyse, data, model, device, json_path, quiet, pictures, settings)


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
    model: str,
    device: str,
    json_path: str | None,
    quiet: bool,
    pictures: Path | None,
    settings: Mapping[str, Any],
) -> None:
    with session(f"analyze {kind}", json_path, quiet) as current:
        from dinotxt.evaluation.job import Job, parse_options

        parsed = parse_options(dict(settings))
        encoder = load_encoder(model, device=device)
        with current.progress(kind) as report_progress:
            job = Job(
                task="segmentation",
                encoder=encoder,
                data=data,
                options=parsed,
                on_skip=current.skip,
                on_progress=report_progress,
            )
            found = analyse(job)
        files = draw_examples(found, pictures)
        show(current, found)
        current.finish(with_files(found, files), done=found.report.n)


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
