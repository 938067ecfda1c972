"""One evaluation: a model, a data set, options, and whom to tell what happens.

The figures of the paper's Tables 5 and 6 (``published.yaml``) stand beside what is measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import NonNegativeInt, PlainValidator, PositiveInt

from dinotxt.config import configuration
from dinotxt.errors import ConfigError, DataError
from dinotxt.evaluation.protocols import TEMPLATES, Protocol, protocol_mode
from dinotxt.inference.dense import Mode, Refine, Upsample
from dinotxt.inference.encoder import Encoder
from dinotxt.models.config import Embedding
from dinotxt.results.report import Interval, Metric, PublishedFigure, Report
from dinotxt.results.skip import OnSkip, Progress, Skip
from dinotxt.text.prompt import template_sets, templates

Task = Literal["classification", "retrieval", "segmentation"]
ModeName = Literal["whole", "window", "highres"]
Item = TypeVar("Item")
_PUBLISHED = Path(__file__).with_name("published.yaml")
_ALIASES = {"coco-val2017": "coco-karpathy"}  # the paper does not say which of the two it used


def _same(value: Any) -> Any:
    return value


@configuration
class Options:
    """The settings of an evaluation; what stays None is chosen for the model and the data.

    Attributes:
        classes: Class names: a list that comes with dinotxt (``imagenet``, ``ade20k:full``), a
            variant that comes with the data (``full``, ``common``), a file with one a line, or a
            sequence (``a | b`` are synonyms); None takes those of the data.
        templates: Prompt templates: a set's name, a file, one template, or several.
        mode: How a picture is looked at for segmentation: ``whole``, ``window``,
            ``highres``, or a mode such as ``SlidingWindow(448, 224)``; None takes the model's own.
        protocol: A published segmentation protocol, ``tcl`` or ``dinov3``; see
            ``dinotxt.evaluation.protocols``.
        embedding: What stands for a patch in segmentation (paper, Table 8); None: the model's own.
        size: Side of the model's input in pixels; for windows, their side.
        stride: Distance between windows in pixels; None is half their side.
        crops: The budget of the mode ``highres``; None is 800.
        upsample: What segmentation enlarges to pixels: ``logits`` or ``features``.
        background: The cosine below which a pixel stays unlabelled; None labels every pixel.
        refine: ``affinity``, ``pamr`` or ``both``; see ``Segmenter``.
        trim_border: Pixels to cut off on each side of ObjectNet's pictures (a red border).
        resume: A folder where what is done is kept; the same evaluation goes on with it.
        every: Only every n-th picture of the data, in order.
        limit: At most so many pictures.
        batch_size: Pictures (or windows) a forward pass; None is 32 (or 8).
        num_workers: Threads that decode pictures; None chooses by the machine.
    """

    classes: str | Path | Sequence[str] | None = None
    templates: str | Path | Sequence[str] | None = None
    mode: Annotated[ModeName | Mode | None, PlainValidator(_same)] = None  # see ``find_mode``
    protocol: Protocol | None = None
    size: PositiveInt | None = None
    stride: PositiveInt | None = None
    crops: PositiveInt | None = None
    upsample: Upsample = "logits"
    background: float | None = None
    refine: Refine | None = None
    embedding: Embedding | None = None
    trim_border: NonNegativeInt = 0
    resume: str | Path | None = None
    every: PositiveInt = 1
    limit: PositiveInt | None = None
    batch_size: PositiveInt | None = None
    num_workers: NonNegativeInt | None = None

    def __post_init__(self) -> None:
        """Hold the protocol against the rest.

        Raises:
            ConfigError: If the protocol fixes what another option changes.
        """
        if self.protocol is None:
            return
        if any(value is not None for value in (self.size, self.stride, self.crops)):
            raise ConfigError("The protocol fixes size and stride: leave them out.")
        protocol_mode(self.protocol, self.mode)

    def take(self, items: Sequence[Item]) -> list[Item]:
        """Return the part of a sorted data set that is used: every n-th, up to the limit."""
        return list(islice(items, 0, None, self.every))[: self.limit]


def published(dataset: str | None) -> tuple[PublishedFigure, ...]:
    """Return the figures of a data set (fractions), such as of ``imagenet``; none if unknown."""
    column = _ALIASES.get(dataset or "", dataset)
    return tuple(figure for name, figure in _figures() if name == column)


@cache
def _figures() -> tuple[tuple[str, PublishedFigure], ...]:
    figures = []
    for table in yaml.safe_load(_PUBLISHED.read_text("utf-8"))["tables"]:
        for model, values in table["rows"].items():
            for (name, metric), value in zip(table["columns"], values, strict=True):
                if value is not None:
                    figure = PublishedFigure(model, metric, value / 100, table["source"])
                    figures.append((name, figure))
    return tuple(figures)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Job:
    """An evaluation to run.

    Attributes:
        task: What is evaluated.
        encoder: The model.
        data: The data set, as the user gave it.
        options: The settings.
        on_skip: Told of every record that cannot be used; None raises instead.
        on_progress: Told (done, total) pictures.
        skipped: Every record that was left out so far.
    """

    task: Task
    encoder: Encoder
    data: str
    options: Options
    on_skip: OnSkip | None = None
    on_progress: Progress | None = None
    skipped: list[Skip] = field(default_factory=list)

    def skip(self, skip: Skip) -> None:
        """Count a record that cannot be used and pass it on.

        Raises:
            DataError: If nobody is to be told.
        """
        if self.on_skip is None:
            known = skip.path in skip.reason
            raise DataError(skip.reason if known else f"{skip.path}: {skip.reason}")
        self.skipped.append(skip)
        self.on_skip(skip)

    def progress(self, done: int, total: int) -> None:
        """Report how many pictures are done."""
        if self.on_progress is not None:
            self.on_progress(done, total)

    def report(
        self,
        n: int,
        metrics: Mapping[str, Metric],
        ci: Mapping[str, Interval],
        protocol: Mapping[str, Any],
        dataset: str | None = None,
    ) -> Report:
        """Return the report, with the settings that every evaluation has.

        Args:
            n: Pictures that were evaluated.
            metrics: The figures.
            ci: Their intervals.
            protocol: The settings of the task.
            dataset: The name of a published data set, whose published figures are added.
        """
        encoder = self.encoder
        shared = {
            "dataset": dataset,
            "fingerprint": encoder.fingerprint,
            "every": self.options.every,
            "limit": self.options.limit,
            "skipped": len(self.skipped),
            "interval": "95%, percentiles of 1000 bootstrap samples of the pictures",
        }
        return Report(
            self.task,
            encoder.name,
            self.data,
            n,
            metrics,
            ci,
            {**dict(protocol), **shared},
            published(dataset),
        )

    def require(self, n: int) -> None:
        """Check that something is left to measure.

        Raises:
            DataError: If not.
        """
        if not n:
            raise DataError(f"{self.data} has no picture that can be evaluated.")


def chosen_templates(
    job: Job, of_data: tuple[str, ...] = ()
) -> tuple[tuple[str, ...], str | list[str]]:
    """Return the prompt templates and how the report names them.

    What the user gave comes first, then what came with the data, what the protocol states and
    the model's own.
    """
    given = job.options.templates
    if given is None:
        protocol = job.options.protocol
        fixed = None if protocol is None else TEMPLATES[protocol]
        given = of_data or fixed or job.encoder.defaults.templates
    found = templates(given)
    named = isinstance(given, str | Path) and str(given) in template_sets()
    return found, str(given) if named else list(found)


def transform_protocol(encoder: Encoder) -> dict[str, Any]:
    """Return how pictures become the model's input, for the report."""
    config = encoder.transform.config
    return {
        "size": config.size,
        "resize": config.resize,
        "crop_ratio": config.crop_ratio if config.resize == "crop" else None,
        "interpolation": config.interpolation,
        "max_enlarge": config.max_enlarge,
        "thumbnail_scales": list(encoder.defaults.thumbnail_scales),
    }
