"""An encoder whose features are known already, so that predictors run on batched results.

The server computes features in batches over requests and keeps those of texts. The predictors of
``dinotxt.inference`` then turn them into answers by the same code as everywhere else.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dinotxt.data.pictures import ImageSource
from dinotxt.inference.classifier import ZeroShotClassifier
from dinotxt.inference.encoder import Encoder, Features
from dinotxt.inference.engines import SquareTowers, Towers
from dinotxt.results.classification import Classification
from dinotxt.results.skip import Progress
from dinotxt.text.tokenizer import TokenBatch

OnPass = Callable[[int], None]


class PreparedEncoder(Encoder):
    """Gives known features for labels and pictures, and tells of every dense forward pass.

    Args:
        encoder: The model.
        label_features: What ``encode_labels`` returns, ``[C, E]``.
        image_features: What ``encode_image`` returns, ``[N, E]``, if it is called.
        on_pass: Called with the number of pictures before each dense forward pass; what it
            raises ends the work.
    """

    def __init__(
        self,
        encoder: Encoder,
        label_features: Features,
        *,
        image_features: Features | None = None,
        on_pass: OnPass = lambda _: None,
    ) -> None:
        towers = _WatchedTowers(encoder.towers, on_pass)
        super().__init__(
            towers, encoder.tokenizer, encoder.transform, encoder.name, encoder.defaults
        )
        self._label_features = label_features
        self._image_features = image_features

    def encode_labels(
        self,
        labels: Sequence[str],
        templates: str | Path | Sequence[str] | None = None,
        *,
        progress: Progress | None = None,
    ) -> Features:
        """Return the known features of the labels."""
        del templates, progress
        assert len(labels) == len(self._label_features)
        return self._label_features

    def encode_image(
        self,
        sources: ImageSource | Sequence[ImageSource],
        *,
        batch_size: int = 32,
        num_workers: int | None = None,
        normalize: bool = True,
        progress: Progress | None = None,
    ) -> Features:
        """Return the known features of the pictures."""
        del sources, batch_size, num_workers, normalize, progress
        assert self._image_features is not None
        return self._image_features


def classify(
    encoder: Encoder, labels: Sequence[str], label_features: Features, image_features: Features
) -> Classification:
    """Classify one picture by its features ``[E]`` and those of the labels ``[C, E]``."""
    prepared = PreparedEncoder(encoder, label_features, image_features=image_features[None])
    return ZeroShotClassifier(prepared, labels)(b"")


class _WatchedTowers:
    def __init__(self, towers: Towers, on_pass: OnPass) -> None:
        self._towers = towers
        self._on_pass = on_pass
        self.embed_dim = towers.embed_dim
        self.patch_dim = towers.patch_dim
        self.patch_size = towers.patch_size
        self.logit_scale = towers.logit_scale
        self.fingerprint = towers.fingerprint
        if isinstance(towers, SquareTowers):
            self.sizes = towers.sizes

    def encode_image(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._towers.encode_image(pixels)

    def encode_patches(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        self._on_pass(len(pixels))
        return self._towers.encode_patches(pixels)

    def encode_text(self, tokens: TokenBatch) -> NDArray[np.float32]:
        return self._towers.encode_text(tokens)

    def dense_text(self, text_features: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._towers.dense_text(text_features)
