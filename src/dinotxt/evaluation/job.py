"""One evaluation: a model, a data set, options, and whom to tell what happens."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dinotxt.errors import DataError
from dinotxt.evaluation.options import Options, Task
from dinotxt.evaluation.protocols import TEMPLATES
from dinotxt.evaluation.published import published
from dinotxt.inference.encoder import Encoder
from dinotxt.results.report import Interval, Metric, Report
from dinotxt.results.skip import Skip
from dinotxt.text.prompt import template_sets, templates


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
    on_skip: Callable[[Skip], None] | None = None
    on_progress: Callable[[int, int], None] | None = None
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
