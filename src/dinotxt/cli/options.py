"""The options that several verbs share, declared once, and what they stand for.

Nothing heavy is imported for them: ``dinotxt --help`` and the shell's completion read this file.
"""

import glob
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dinotxt.results.skip import OnSkip, Skip

if TYPE_CHECKING:
    from dinotxt.inference.encoder import Encoder

_SCHEMES = ("openclip:", "groupvit:", "hf://")
_TEMPLATES = ("openai-7", "openai-80", "simple", "tcl-9")


def complete_model(incomplete: str) -> list[str]:
    """Return named models, prefixes of other libraries' models, and folders."""
    from dinotxt.checkpoints.catalogue import MODELS

    names = [name for name in (*MODELS, *_SCHEMES) if name.startswith(incomplete)]
    return names + _folders(incomplete)


def complete_templates(incomplete: str) -> list[str]:
    """Return the named sets of prompt templates."""
    return [name for name in _TEMPLATES if name.startswith(incomplete)]


def complete_device(incomplete: str) -> list[str]:
    """Return the names of devices."""
    return [name for name in ("auto", "cpu", "cuda", "cuda:0") if name.startswith(incomplete)]


def _folders(incomplete: str) -> list[str]:
    """Return the folders whose path begins so, hidden ones only where they are asked for."""
    parent, _, start = incomplete.rpartition("/")
    root = Path(parent or ("/" if incomplete.startswith("/") else "."))
    prefix = f"{parent}/" if "/" in incomplete else ""
    try:
        found = sorted(path.name for path in root.iterdir() if path.is_dir())
    except OSError:
        return []
    hidden = start.startswith(".")
    return [
        f"{prefix}{name}"
        for name in found
        if name.startswith(start) and (hidden or not name.startswith("."))
    ]


Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="A named model, openclip:NAME/PRETRAINED, hf://OWNER/NAME, or a run or export folder.",
        autocompletion=complete_model,
    ),
]
TrustCode = Annotated[
    bool, typer.Option("--trust-code", help="Call the function that a model names as its backbone.")
]
Device = Annotated[
    str, typer.Option(help="auto, cpu, cuda or cuda:N.", autocompletion=complete_device)
]
Engine = Annotated[
    Literal["auto", "onnx", "torch"],
    typer.Option(help="What runs the model (auto: ONNX Runtime wherever it can)."),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Pictures a forward pass.")]
NumWorkers = Annotated[
    int | None, typer.Option(min=0, help="Threads that decode pictures (default: by machine).")
]
Size = Annotated[
    int | None, typer.Option(min=1, help="Input size in pixels (default: the model's own).")
]
Json = Annotated[
    str | None, typer.Option("--json", metavar="FILE|-", help="Write the result as JSON.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no tables.")]
Mode = Annotated[
    Literal["whole", "window", "highres"] | None,
    typer.Option(help="How a picture is looked at (default: the model's own)."),
]
Crops = Annotated[
    int | None, typer.Option(min=1, help="Crops a picture, for --mode highres (default: 800).")
]
Upsample = Annotated[
    Literal["logits", "features"], typer.Option(help="What is enlarged to pixels.")
]
Background = Annotated[
    float | None, typer.Option(metavar="T", help="Below this cosine a pixel stays unlabelled.")
]
Refine = Annotated[
    Literal["affinity", "pamr", "both"] | None,
    typer.Option(help="Move scores among places that look alike to the backbone, or by colour."),
]
Embedding = Annotated[
    Literal["patch", "cls_patch", "value", "value_patch", "backbone"] | None,
    typer.Option(help="What stands for a patch; value is MaskCLIP (default: the model's own)."),
]
Labels = Annotated[
    list[str] | None,
    typer.Option("--labels", help="Comma-separated labels; `a | b` are synonyms. Repeats."),
]
LabelsFile = Annotated[
    str | None, typer.Option(metavar="FILE", help="A file with one label a line.")
]
Templates = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE|TEXT",
        help='Prompt templates, or one such as "a photo of {}".',
        autocompletion=complete_templates,
    ),
]


class Group:
    """Options that several verbs take together: fields annotated as a verb's parameters are.

    No dataclass, since making one takes a millisecond of every start.
    """

    def __init__(self, **values: Any) -> None:
        vars(self).update(values)

    @classmethod
    def parameters(cls) -> list[inspect.Parameter]:
        """Return the fields, those of a base first, as parameters with their defaults."""
        kinds = [vars(one).get("__annotations__", {}) for one in reversed(cls.__mro__)]
        return [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=getattr(cls, name, inspect.Parameter.empty),
                annotation=annotation,
            )
            for kind in kinds
            for name, annotation in kind.items()
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields and their values."""
        return {one.name: getattr(self, one.name) for one in self.parameters()}


def grouped(verb: Callable[..., None]) -> Callable[..., None]:
    """Let a verb take options in groups: each field of a ``Group`` is an option of its own."""
    given = inspect.signature(verb).parameters.values()
    groups: dict[str, type[Group]] = {
        one.name: one.annotation
        for one in given
        if isinstance(one.annotation, type) and issubclass(one.annotation, Group)
    }
    names: dict[str, list[str]] = {}
    parameters: list[inspect.Parameter] = []
    for one in given:
        own = groups[one.name].parameters() if one.name in groups else [one]
        names[one.name] = [member.name for member in own]
        parameters += [member.replace(kind=inspect.Parameter.KEYWORD_ONLY) for member in own]

    @wraps(verb)
    def command(**values: Any) -> None:
        made = {
            key: group(**{name: values.pop(name) for name in names[key]})
            for key, group in groups.items()
        }
        verb(**values, **made)

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    return command


class Source(Group):
    """The model of a verb."""

    model: Model = "lite"
    device: Device = "auto"
    engine: Engine = "auto"
    trust_code: TrustCode = False

    def load(self) -> "Encoder":
        """Load it, see ``load_encoder``."""
        return load_encoder(
            self.model, device=self.device, engine=self.engine, trust_code=self.trust_code
        )


class Shown(Group):
    """What a verb prints and writes."""

    json_path: Json = None
    quiet: Quiet = False


def load_encoder(
    name: str,
    *,
    device: str,
    engine: Literal["auto", "onnx", "torch"] = "auto",
    size: int | None = None,
    trust_code: bool = False,
) -> "Encoder":
    """Load a model into a process that is the verb's own: torch keeps what memory it frees there.

    Raises:
        DinotxtError: See ``dinotxt.load``.
    """
    from dinotxt.inference.encoder import load
    from dinotxt.inference.loading import keep_freed_memory

    encoder = load(name, device=device, size=size, engine=engine, trust_code=trust_code)
    if "torch" in sys.modules:
        keep_freed_memory()
    return encoder


def read_labels(labels: Sequence[str] | None, labels_file: str | None) -> tuple[str, ...]:
    """Return the labels of both options, in the order given.

    Raises:
        typer.BadParameter: If neither option is there.
        ConfigError: If the file cannot be used, or a label is empty.
    """
    from dinotxt.text.class_names import class_names
    from dinotxt.text.prompt import check_labels

    given = [label.strip() for text in labels or () for label in text.split(",")]
    if labels_file is not None:
        given += class_names(labels_file)
    if not given:
        raise typer.BadParameter("give --labels a,b or --labels-file FILE.")
    check_labels(given)  # before a model is loaded
    return tuple(given)


def expand_pictures(given: Sequence[str], on_skip: OnSkip) -> list[str]:
    """Return the picture files that arguments stand for, each once, in a fixed order.

    A folder gives the pictures in it, however deep, in the order of their numbers (the frames of
    a video as they are played); a pattern (``*``, ``?``, ``[a-z]``, ``**``)
    the pictures among its matches; any other argument is a file, whatever its extension.

    Args:
        given: The arguments.
        on_skip: Told of every argument that gives nothing.
    """
    from dinotxt.data.pictures import without_results

    found: dict[str, None] = {}
    for argument in given:
        paths = list(_expand(argument, on_skip))
        if not paths:
            on_skip(Skip(argument, _why_nothing(argument)))
        found.update(dict.fromkeys(paths))
    return without_results(list(found))


def _expand(argument: str, on_skip: OnSkip) -> Iterator[str]:
    from dinotxt.data.pictures import (
        EXTENSIONS,
        is_left_out,
        pictures_in,
        play_order,
        why_unreadable,
    )

    path = Path(argument)
    if path.is_dir():
        yield from play_order(map(str, pictures_in(path, on_skip)))
    elif path.exists() or not glob.has_magic(argument):
        if path.exists():
            yield argument
    else:
        for match in play_order(glob.glob(argument, recursive=True)):  # noqa: PTH207 - keeps "./"
            ending = Path(match).suffix.lower()
            if any(map(is_left_out, set(Path(match).parts) - set(path.parts))):
                continue
            if ending in EXTENSIONS and Path(match).is_file():
                yield match
            elif reason := why_unreadable(ending):
                on_skip(Skip(match, reason))


def output_names(given: Sequence[str], paths: Sequence[str]) -> list[str]:
    """Return what the results of pictures are called, each once.

    A picture from a folder argument keeps its path below that folder, without the suffix; any
    other has the stem of its file. From the second of a name on there is a number.
    """
    from dinotxt.data.pictures import mirrored_name

    folders = [argument for argument in given if Path(argument).is_dir()]
    names: list[str] = []
    taken: set[str] = set()
    for path in paths:
        root = next((folder for folder in folders if Path(path).is_relative_to(folder)), None)
        stem = name = Path(path).stem if root is None else mirrored_name(path, root)
        number = 2
        while name.casefold() in taken:
            name, number = f"{stem}-{number}", number + 1
        taken.add(name.casefold())
        names.append(name)
    return names


def _why_nothing(argument: str) -> str:
    if Path(argument).is_dir():
        return "the folder holds no pictures"
    return "no picture matches" if glob.has_magic(argument) else "does not exist"
