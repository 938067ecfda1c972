"""What analyses share: the data set (``Study``), its counts (``Tally``) and what they find.

A ``Finding`` has figures, tables, and the pictures that show it best.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dinotxt.data.pictures import Picture, picture_size
from dinotxt.data.prefetch import prefetch
from dinotxt.data.readers import IGNORED, MaskedImage, MaskSet
from dinotxt.errors import ConfigError, DataError
from dinotxt.evaluation.datasets import open_masks
from dinotxt.evaluation.job import Job, chosen_templates
from dinotxt.evaluation.names import choose_names
from dinotxt.metrics.bootstrap import bootstrap_interval, miou_interval
from dinotxt.metrics.confusion import Confusion, miou
from dinotxt.results.report import Interval, Metric, Report
from dinotxt.results.skip import Skip

_AHEAD = 2  # pictures


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A picture that shows a finding.

    Attributes:
        image: The picture's name.
        shows: What it shows, and what is measured.
        value: How strongly.
        draw: Makes the drawing.
    """

    image: str
    shows: str
    value: float
    draw: Callable[[], Image.Image] = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """The outcome of an analysis.

    Attributes:
        report: The figures and the settings.
        details: Tables by name, of plain types.
        examples: The pictures that show it best, the strongest first.
    """

    report: Report
    details: Mapping[str, Any] = field(default_factory=dict)
    examples: Sequence[Example] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain types only, ready for JSON."""
        shown = [
            {"image": one.image, "shows": one.shows, "value": round(one.value, 6)}
            for one in self.examples
        ]
        return {**self.report.to_dict(), **self.details, "examples": shown}


def strongest(values: Sequence[float], count: int) -> list[int]:
    """Return the positions of the largest values above 0, the largest first."""
    order = sorted(range(len(values)), key=lambda position: (-values[position], position))
    return [position for position in order[:count] if values[position] > 0]


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


class Tally:
    """The confusion of each picture and of all.

    Args:
        num_classes: How many classes there are.

    Attributes:
        items: The pictures counted so far.
        total: The confusion of all.
    """

    def __init__(self, num_classes: int) -> None:
        self.items: list[MaskedImage] = []
        self.total = Confusion(num_classes, ignore=IGNORED)
        self._counts: list[NDArray[np.int64]] = []

    def __len__(self) -> int:
        return len(self.items)

    def add(self, sample: Sample, label_map: NDArray[np.integer]) -> Confusion:
        """Count a picture and return its confusion."""
        one = Confusion(self.total.num_classes, ignore=IGNORED)
        one.add(sample.truth, label_map)
        self.total.merge(one)
        self.items.append(sample.item)
        self._counts.append(one.counts())
        return one

    def miou(self) -> float:
        """Return the mean IoU over the classes that the truth holds."""
        return self.total.miou()

    def iou(self, labels: Sequence[str]) -> dict[str, float]:
        """Return the IoU by class name; NaN for a class that the truth never holds."""
        return dict(zip(labels, self.total.iou().tolist(), strict=True))

    def interval(self) -> Interval:
        """Return the 95% bootstrap interval of the mean IoU."""
        return miou_interval(np.stack(self._counts))

    def gain_interval(self, other: "Tally") -> Interval:
        """Return the interval of the other mean IoU minus this one, on the same pictures."""
        pairs = np.stack([np.stack(self._counts), np.stack(other._counts)], axis=1)
        shape = (-1, *pairs.shape[1:])

        def gain(sums: NDArray[np.float64]) -> NDArray[np.float64]:
            values = miou(sums.reshape(shape))
            return np.asarray(values[:, 1] - values[:, 0])

        return bootstrap_interval(pairs.reshape(len(pairs), -1), gain)

    def accuracies(self) -> NDArray[np.float64]:
        """Return the share of right pixels of each picture (0 where all are ignored)."""
        right, true, _ = np.moveaxis(np.stack(self._counts).sum(axis=-1), -1, 0)
        return np.asarray(right / np.maximum(true, 1))
