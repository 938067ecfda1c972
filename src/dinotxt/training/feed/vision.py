"""Where the vision side of a batch comes from: pictures, or a cache of frozen tokens."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dinotxt.data.features import FeatureStore
from dinotxt.data.order import view_index
from dinotxt.data.pictures import RandomView, Transform
from dinotxt.data.readers import Pair
from dinotxt.errors import ConfigError, DataError
from dinotxt.models.config import VisionHeadConfig
from dinotxt.models.vision import Tokens
from dinotxt.results.skip import Skip
from dinotxt.training.config import TrainConfig

Pooled = Literal["avg", "max"]


class Pictures:
    """Reads and transforms pictures; a picture that cannot be used is left out and reported.

    Args:
        pairs: The pairs.
        transform: What happens to a picture.
        view: A random view instead of the transform's own resizing; None: the plain picture.
        seed: The seed of the views.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        transform: Transform,
        *,
        view: RandomView | None = None,
        seed: int = 0,
    ) -> None:
        self.pairs = pairs
        self.transform = transform
        self.view = view
        self.seed = seed

    def read(
        self, pairs: NDArray[np.int64], epoch: int
    ) -> tuple[Tensor, NDArray[np.int64], tuple[Skip, ...]]:
        """Return ``[B, C, H, W]``, the pairs that could be read and those that could not."""
        side, channels = self.transform.config.size, len(self.transform.config.mean)
        pixels = np.empty((len(pairs), channels, side, side), dtype=np.float32)
        read: list[int] = []
        skipped: list[Skip] = []
        for index in pairs.tolist():
            try:
                pixels[len(read)] = self._picture(index, epoch)
                read.append(index)
            except DataError as error:
                skipped.append(Skip(self.pairs[index].image.name, str(error)))
        kept = np.array(read, dtype=np.int64)
        return torch.from_numpy(pixels[: len(read)]), kept, tuple(skipped)

    def _picture(self, index: int, epoch: int) -> NDArray[np.float32]:
        image = self.pairs[index].image
        if self.view is None:
            return self.transform.load(image)
        return self.view.load(image, seed=self.seed, epoch=epoch, index=index)


class CachedTokens:
    """Reads the frozen tokens of a cache; each epoch draws one of its views.

    Args:
        store: The cache.
        rows: The item of the cache of each pair.
        kind: Which pooled patches are enough; None: the run needs all tokens.
        seed: The seed of the draw.

    Raises:
        ConfigError: If the cache is pooled and the run needs all tokens.
    """

    def __init__(
        self,
        store: FeatureStore,
        rows: Sequence[int],
        *,
        kind: Pooled | None,
        seed: int = 0,
    ) -> None:
        self.store = store
        self.rows = np.array(rows, dtype=np.int64)
        self.kind = kind
        self.seed = seed
        if store.spec.tokens == "pooled" and kind is None:
            raise ConfigError(
                f"{store.path} holds pooled tokens, and this run needs every patch: cache with "
                "--tokens all."
            )

    def read(
        self, pairs: NDArray[np.int64], epoch: int
    ) -> tuple[Tokens, NDArray[np.int64], tuple[Skip, ...]]:
        """Return the tokens of the pairs; nothing is ever skipped."""
        views = view_index(self.seed, epoch, pairs, self.store.spec.views)
        arrays = self.store.tokens(self.rows[pairs], views)
        tokens = {name: torch.from_numpy(np.ascontiguousarray(x)) for name, x in arrays.items()}
        cls = tokens["cls"]
        if self.kind is not None and self.store.spec.tokens == "pooled":
            patches = tokens[self.kind].unsqueeze(1)
            return Tokens(cls, patches[:, :0], patches, (1, 1)), pairs, ()
        whole = Tokens(cls, tokens["registers"], tokens["patches"], self.store.spec.grid)
        return as_pooled(whole, self.kind), pairs, ()


def pooled_kind(head: VisionHeadConfig) -> Pooled | None:
    """Tell which pooled patches are enough for a vision head; None: it needs all tokens.

    Without blocks and layer norm every token is mapped alone and linearly, so the average of the
    patches may be taken before the head; the maximum only where nothing maps them.
    """
    is_mapped = head.input_norm == "layer" and head.pooling != "cls"
    if head.num_blocks or is_mapped or head.patch_dropout:
        return None
    if head.pooling.endswith("max"):
        return "max" if head.dim is None else None
    return "avg"


def needed_patches(config: TrainConfig) -> Pooled | None:
    """Tell which pooled patches are enough for a training run; None: it needs all tokens."""
    return None if config.loss.gram is not None else pooled_kind(config.model.vision_head)


def as_pooled(tokens: Tokens, kind: Pooled | None) -> Tokens:
    """Replace the patches by their average or maximum as the one patch, and drop registers."""
    if kind is None:
        return tokens
    patches = tokens.patches.amax(1) if kind == "max" else tokens.patches.mean(1)
    return Tokens(tokens.cls, tokens.registers[:, :0], patches.unsqueeze(1), (1, 1))


def move(tokens: Tokens, device: torch.device, dtype: torch.dtype | None = None) -> Tokens:
    """Return the tokens on a device, in another type where one is given."""
    cls, registers, patches = (
        part.to(device=device, dtype=dtype or part.dtype)
        for part in (tokens.cls, tokens.registers, tokens.patches)
    )
    return Tokens(cls, registers, patches, tokens.grid)
