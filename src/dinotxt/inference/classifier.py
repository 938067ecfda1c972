"""The zero-shot classifier: a picture and labels in, probabilities out."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from dinotxt.data.pictures import ImageSource, source_name
from dinotxt.inference.encoder import Encoder
from dinotxt.inference.features import Features, LabelFeatures
from dinotxt.results.classification import Classification, Label
from dinotxt.results.skip import OnSkip, Progress


class ZeroShotClassifier:
    """Tells which of some labels fits a picture best.

    Probabilities are the softmax of the cosines times the model's logit scale.

    Args:
        encoder: The model.
        labels: What to choose from, ``a | b`` are synonyms; or labels with their features.
        templates: The prompts; see ``Encoder.encode_labels``.
        batch_size: Pictures a forward pass.
        num_workers: Threads that decode; None takes one a core.

    Raises:
        ConfigError: If there are no labels, one is empty, or the templates are unknown.
    """

    def __init__(
        self,
        encoder: Encoder,
        labels: Sequence[str] | LabelFeatures,
        *,
        templates: str | Path | Sequence[str] | None = None,
        batch_size: int = 32,
        num_workers: int | None = None,
    ) -> None:
        known = encoder.encode_labels(labels, templates)
        self.encoder = encoder
        self.labels = known.labels
        self._text = encoder.classified_part(known.features)
        self._batch_size = batch_size
        self._num_workers = num_workers

    def __call__(self, source: ImageSource) -> Classification:
        """Classify one picture.

        Raises:
            DataError: If the picture cannot be used; the message names it.
        """
        features = self.encoder.encode_image([source], num_workers=0)
        return self.classify_features(features, [source_name(source)])[0]

    def classify_many(
        self,
        sources: Sequence[ImageSource],
        *,
        on_skip: OnSkip | None = None,
        progress: Progress | None = None,
    ) -> Iterator[Classification]:
        """Yield the classification of each picture in order; bad ones go to ``on_skip``.

        Raises:
            DataError: If a picture cannot be used and ``on_skip`` is None.
        """
        for batch in self.encoder.stream_images(
            sources,
            batch_size=self._batch_size,
            num_workers=self._num_workers,
            on_skip=on_skip,
        ):
            names = [source_name(sources[int(index)]) for index in batch.indices]
            yield from self.classify_features(batch.features, names)
            if progress is not None:
                progress(int(batch.indices[-1]) + 1, len(sources))
        if progress is not None:
            progress(len(sources), len(sources))

    def classify_features(self, features: Features, names: Sequence[str]) -> list[Classification]:
        """Classify pictures by their features ``[N, E]``, as ``Encoder.encode_image`` gives them.

        Args:
            features: Of length 1.
            names: What the results call the pictures.
        """
        rows = self.encoder.classified_part(features)
        return [self._classify(row, name) for row, name in zip(rows, names, strict=True)]

    def _classify(self, features: Features, name: str) -> Classification:
        similarity = (self._text @ features).astype(np.float64)
        logits = self.encoder.logit_scale * similarity
        shares = np.exp(logits - logits.max())
        probability = shares / shares.sum()
        order = np.argsort(-similarity, kind="stable").tolist()
        columns = zip(order, probability[order].tolist(), similarity[order].tolist(), strict=True)
        labels = tuple(Label(self.labels[i], p, s) for i, p, s in columns)
        return Classification(name, labels)
