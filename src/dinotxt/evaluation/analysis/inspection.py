"""What one picture shows of a model's errors."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dinotxt.data.readers import MaskedImage
from dinotxt.evaluation.analysis.drawing import IndexMap, draw_panels
from dinotxt.evaluation.analysis.labelling import (
    Labeller,
    LabelMap,
    best_labels,
    close_seconds,
)
from dinotxt.evaluation.analysis.overlap import Overlap
from dinotxt.evaluation.analysis.study import Sample, Study
from dinotxt.evaluation.analysis.tally import Tally

Mask = NDArray[np.bool_]
Choose = Callable[[NDArray[np.int64], LabelMap, Mask], Mask]


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """What one picture showed.

    Attributes:
        item: The picture.
        truths: int64 ``[C]``, true pixels by class.
        pairs: int64 ``[P, 2]``, (true, predicted) labels of its wrong pixels.
        pixels: int64 ``[P]``, how many.
        seconds: Wrong pixels whose true label is a close second.
        overlaps: Wrong pixels that are overlaps of any kind.
    """

    item: MaskedImage
    truths: NDArray[np.int64]
    pairs: NDArray[np.int64]
    pixels: NDArray[np.int64]
    seconds: int
    overlaps: int


@dataclass(frozen=True, slots=True, eq=False)
class Inspection:
    """A model on a data set, with what WordNet says of its classes.

    Attributes:
        study: The data set.
        look: The model.
        overlap: Which labels are related.
    """

    study: Study
    look: Labeller
    overlap: Overlap

    def predict(self, sample: Sample) -> tuple[LabelMap, Mask]:
        """Return the label map, and where the true label is a close second."""
        scores = self.look.scores(sample.picture)
        second = close_seconds(scores, sample.truth, self.look.encoder.logit_scale)
        return best_labels(scores, sample.picture), second

    def inspect(self, sample: Sample, tally: Tally) -> Looked:
        """Count a picture."""
        label_map, second = self.predict(sample)
        matrix = tally.add(sample, label_map).matrix[:, :-1].copy()
        truths = matrix.sum(axis=1)
        np.fill_diagonal(matrix, 0)
        pairs = np.argwhere(matrix)
        overlaps = self.overlap.mask(sample.truth, label_map, second)
        pixels = matrix[pairs[:, 0], pairs[:, 1]]
        seconds, overlapping = int(second.sum()), int(overlaps.sum())
        return Looked(sample.item, truths, pairs, pixels, seconds, overlapping)

    def draw(self, item: MaskedImage, choose: Choose) -> Image.Image:
        """Draw picture, truth, prediction, and the chosen pixels of the prediction alone."""
        sample = self.study.open(item)
        label_map, second = self.predict(sample)
        chosen = choose(sample.truth, label_map, second)
        alone = np.where(chosen, label_map, len(self.study.labels))
        maps: dict[str, IndexMap] = {"truth": sample.truth, "prediction": label_map}
        maps["these errors"] = alone
        return draw_panels(sample.picture, maps, self.study.labels, self.study.masks.name)


def wrong_by_label(looked: Looked, num_classes: int) -> NDArray[np.int64]:
    """Return the pixels of other classes that got each label, ``[C]``."""
    weights = np.bincount(looked.pairs[:, 1], looked.pixels, minlength=num_classes)
    return weights.astype(np.int64)
