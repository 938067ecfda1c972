"""A segmentation data set that is analysed: its pictures, their label maps and its class names."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinotxt.data.pictures import Picture, picture_size
from dinotxt.data.prefetch import prefetch
from dinotxt.data.readers import MaskedImage, MaskSet
from dinotxt.errors import ConfigError, DataError
from dinotxt.evaluation.datasets import open_masks
from dinotxt.evaluation.job import Job, chosen_templates
from dinotxt.evaluation.names import choose_names
from dinotxt.inference.dense import HighRes, Mode
from dinotxt.results.report import Interval, Metric, Report
from dinotxt.results.skip import Skip

_AHEAD = 2  # pictures


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A picture with its truth.

    Attributes:
        item: Where both come from.
        picture: Opened.
        truth: int64 ``[H, W]``, the class of each pixel, or 255.
    """

    item: MaskedImage
    picture: Picture
    truth: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """A data set, opened.

    Attributes:
        job: What is asked for.
        masks: The data set.
        items: The pictures that are used.
        labels: The name of each class.
        names_source: Where the names come from, for the report.
    """

    job: Job
    masks: MaskSet
    items: Sequence[MaskedImage]
    labels: tuple[str, ...]
    names_source: str

    def samples(self) -> Iterator[Sample]:
        """Yield the pictures, decoded ahead; those that cannot be used are skipped.

        Raises:
            DataError: If none can be used.
        """
        usable = False
        workers = self.job.options.num_workers
        opened = prefetch(self._attempt, self.items, num_workers=workers, ahead=_AHEAD)
        for done, outcome in enumerate(opened, start=1):
            if isinstance(outcome, Skip):
                self.job.skip(outcome)
            else:
                usable = True
                yield outcome
            self.job.progress(done, len(self.items))
        self.job.require(int(usable))

    def open(self, item: MaskedImage) -> Sample:
        """Open a picture and its label map.

        Raises:
            DataError: If one of them cannot be used.
        """
        picture = self.job.encoder.transform.open(item.image)
        return Sample(item, picture, self.masks.truth(item, picture_size(picture)))

    def _attempt(self, item: MaskedImage) -> Sample | Skip:
        try:
            return self.open(item)
        except DataError as error:
            return Skip(item.image.name, str(error))

    def report(
        self,
        kind: str,
        n: int,
        metrics: Mapping[str, Metric],
        ci: Mapping[str, Interval],
        settings: Mapping[str, Any],
    ) -> Report:
        """Return the report of an analysis, with the settings that all have."""
        options = self.job.options
        protocol = {
            "protocol": options.protocol,
            "embedding": options.embedding or "patch",
            "upsample": options.upsample,
            "templates": chosen_templates(self.job)[1],
            "classes": self.names_source,
            "num_classes": len(self.labels),
            **settings,
        }
        report = self.job.report(n, metrics, ci, protocol)
        return replace(report, task=f"analyze {kind}")


def open_study(job: Job) -> Study:
    """Open the data set of a job.

    Raises:
        ConfigError: If the data set counts its background, which no name fits.
        DataError: If it cannot be read, or the class names do not fit it.
    """
    masks = open_masks(job.data, on_skip=job.skip)
    if masks.background:
        raise ConfigError(
            f"{job.data} counts its background, which has no name to analyse: take the same data "
            "without it (voc20, context59)."
        )
    given, of_data = job.options.classes, masks.class_names
    names = choose_names(of_data, given, len(of_data), job.data, masks.variants)
    labels = tuple(names.names[index] for index in names.index)
    items = job.options.take(sorted(masks.items, key=lambda item: item.key))
    return Study(job, masks, items, labels, names.source)


def mode_settings(mode: Mode) -> dict[str, Any]:
    """Return a mode and its settings for a report."""
    known: dict[str, Any] = (
        asdict(mode) if is_dataclass(mode) and not isinstance(mode, type) else {}
    )
    visits = {"visits": round(mode.visits, 2)} if isinstance(mode, HighRes) else {}
    return {"mode": type(mode).__name__, **known, **visits}
