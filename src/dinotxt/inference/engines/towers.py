"""What every engine offers to the predictors: both towers on plain arrays."""

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dinotxt.models.config import Embedding, TextHalf
from dinotxt.text.tokenizer import TokenBatch


class Towers(Protocol):
    """An image tower and a text tower that share one space.

    Features come as the model gives them; whoever needs cosines normalises them.
    """

    @property
    def embed_dim(self) -> int:
        """The width E of image and text features."""

    @property
    def patch_dim(self) -> int:
        """The width Dp of patch features."""

    @property
    def patch_size(self) -> int:
        """The number of pixels that the sides of an input must be a multiple of."""

    @property
    def logit_scale(self) -> float:
        """What cosines are multiplied by before the softmax."""

    @property
    def fingerprint(self) -> str:
        """A hash of the weights, which tells one model's features from another's."""

    def encode_image(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return ``[B, E]`` for normalised pixels ``[B, C, H, W]``."""

    def encode_patches(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return ``[B, h, w, Dp]`` for normalised pixels ``[B, C, H, W]``."""

    def encode_text(self, tokens: TokenBatch) -> NDArray[np.float32]:
        """Return ``[N, E]`` for tokenized texts."""

    def dense_text(self, text_features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the part of text features ``[N, E]`` that patches compare with, ``[N, Dp]``."""


@runtime_checkable
class SquareTowers(Protocol):
    """Towers that take square pictures of some sizes alone, as exported ones do."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sides that an input may have, in pixels, ascending."""


@runtime_checkable
class ConvolutionalTowers(Protocol):
    """Towers whose patches depend on what is near them alone, so that any size may be encoded."""

    @property
    def margin(self) -> int:
        """How far around a patch that is, in pixels."""


@runtime_checkable
class FrozenTowers(Protocol):
    """Towers that give the frozen backbone's own patches, too."""

    def encode_patches_beside(
        self, pixels: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return ``encode_patches`` and the backbone's own patches, ``[B, h, w, D]``."""


@runtime_checkable
class DenseTowers(Protocol):
    """Towers that offer more than one embedding of a patch (paper, Table 8)."""

    def with_embedding(self, embedding: Embedding, *, value_text: TextHalf = "cls") -> Towers:
        """Return towers on the same model whose patches have another embedding."""
