"""Position embeddings at any grid, by the rule of Meta's DINOv2 code.

Models with registers resample bicubically with antialiasing to the wanted size. Models without
registers resample without antialiasing, by a scale factor of (n + 0.1) / trained size, which
moves the sample points a little. timm resamples all of them in the first way.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_OFFSET = 0.1
_MAX_CACHED_GRIDS = 32


def resample(
    embedding: Tensor, trained: tuple[int, int], grid: tuple[int, int], *, offset_rule: bool
) -> Tensor:
    """Resample a position embedding to another grid of patches.

    Args:
        embedding: One vector a patch, [1, H*W, D], for the ``trained`` grid (H, W).
        trained: Rows and columns of the grid that the embedding was trained on.
        grid: Rows and columns that are wanted, (h, w).
        offset_rule: Resample as DINOv2 does without registers.

    Returns:
        The embedding for ``grid``, [1, h*w, D].
    """
    if grid == trained:
        return embedding
    picture = torch.unflatten(embedding.float(), 1, trained).permute(0, 3, 1, 2)
    if offset_rule:
        scale = [(n + _OFFSET) / old for n, old in zip(grid, trained, strict=True)]
        picture = F.interpolate(picture, scale_factor=scale, mode="bicubic")
    else:
        picture = F.interpolate(picture, size=grid, mode="bicubic", antialias=True)
    return picture.permute(0, 2, 3, 1).flatten(1, 2).to(embedding.dtype)


class PositionEmbedding:
    """Adds cls, register and position embeddings in place of timm's ``_pos_embed``.

    The resampled embedding of a grid is kept as long as the weights stay the same, so a frozen
    backbone pays for it once.

    Args:
        vit: timm's ``VisionTransformer``.
        offset_rule: Resample as DINOv2 does without registers.
    """

    def __init__(self, vit: Any, *, offset_rule: bool) -> None:
        self.vit = vit
        self.offset_rule = offset_rule
        self._cache: dict[tuple[object, ...], Tensor] = {}

    def baked(self, grid: tuple[int, int]) -> "BakedPosition":
        """Return the embedding of a single grid, (h, w), which is never resampled."""
        return BakedPosition(self, grid)

    def __call__(self, patches: Tensor) -> Tensor:
        """Return the block input [B, prefix + h*w, D] for patch embeddings [B, h, w, D]."""
        vit = self.vit
        batch, height, width, _ = patches.shape
        tokens = patches.flatten(1, 2)
        prefix = [token for token in (vit.cls_token, vit.reg_token) if token is not None]
        prefix = [token.expand(batch, -1, -1) for token in prefix]
        position = self.at((height, width))
        if vit.no_embed_class:
            tokens = torch.cat([*prefix, tokens + position], dim=1)
        else:
            tokens = torch.cat([*prefix, tokens], dim=1) + position
        return vit.pos_drop(tokens)  # type: ignore[no-any-return]

    def at(self, grid: tuple[int, int]) -> Tensor:
        """Return the position embedding for a grid, [1, prefix + h*w, D]."""
        weight: Tensor = self.vit.pos_embed
        if weight.requires_grad:
            return self._resample(weight, grid)
        version = 0 if weight.is_inference() else weight._version
        key = (grid, weight.device, weight.dtype, weight.data_ptr(), version)
        if key not in self._cache:
            if len(self._cache) >= _MAX_CACHED_GRIDS:
                self._cache.clear()
            self._cache[key] = self._resample(weight, grid)
        return self._cache[key]

    def _resample(self, weight: Tensor, grid: tuple[int, int]) -> Tensor:
        num_prefix = 0 if self.vit.no_embed_class else self.vit.num_prefix_tokens
        patches = weight[:, num_prefix:]
        trained = tuple(self.vit.patch_embed.grid_size)
        if math.prod(trained) != patches.shape[1]:
            side = math.isqrt(patches.shape[1])
            trained = (side, side)
        resampled = resample(patches, trained, grid, offset_rule=self.offset_rule)
        return torch.cat([weight[:, :num_prefix], resampled], dim=1)


class BakedPosition(PositionEmbedding):
    """The position embedding of one grid, as a constant: for tracing.

    Args:
        original: Gives it once.
        grid: Rows and columns, (h, w).
    """

    def __init__(self, original: PositionEmbedding, grid: tuple[int, int]) -> None:
        super().__init__(original.vit, offset_rule=original.offset_rule)
        self._position = original.at(grid).detach()

    def at(self, grid: tuple[int, int]) -> Tensor:
        """Return the embedding of the one grid."""
        del grid
        return self._position
