"""The tokens of a picture, as a backbone or a vision head gives them."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import LongTensor, Tensor

from dinotxt.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a vision tower knows about a batch of pictures.

    Attributes:
        cls: The token of the whole picture, [B, D].
        registers: Register tokens, [B, R, D]; R may be 0.
        patches: Patch tokens in row-major order, [B, h*w, D].
        grid: Rows and columns of patches, (h, w).
    """

    cls: Tensor
    registers: Tensor
    patches: Tensor
    grid: tuple[int, int]

    @classmethod
    def from_sequence(
        cls, sequence: Tensor, grid: tuple[int, int], *, num_prefix: int, has_cls: bool
    ) -> "Tokens":
        """Split a sequence [B, prefix + h*w, D] in the order cls, registers, patches.

        Without a cls token the patches' average takes its place.

        Raises:
            ConfigError: If the sequence has another length than the grid asks for.
        """
        expected = num_prefix + grid[0] * grid[1]
        if sequence.shape[1] != expected:
            message = (
                f"The backbone gives {sequence.shape[1]} tokens, but {num_prefix} prefix tokens and"
                f" a {grid[0]}x{grid[1]} grid make {expected}: check its `patch_size` and"
                " `num_prefix_tokens`."
            )
            raise ConfigError(message)
        patches = sequence[:, num_prefix:]
        first = sequence[:, 0] if has_cls else patches.mean(dim=1)
        return cls(first, sequence[:, int(has_cls) : num_prefix], patches, grid)

    @classmethod
    def from_map(cls, features: Tensor) -> "Tokens":
        """Turn a feature map [B, D, h, w] into tokens; cls is the average of the patches."""
        height, width = features.shape[-2:]
        patches = features.flatten(2).transpose(1, 2)
        return cls(patches.mean(dim=1), patches[:, :0], patches, (height, width))

    def sequence(self) -> Tensor:
        """Return cls, registers and patches as one sequence, [B, 1 + R + h*w, D]."""
        return torch.cat([self.cls.unsqueeze(1), self.registers, self.patches], dim=1)

    def keep(self, patches: LongTensor) -> "Tokens":
        """Return the tokens with some patches of each picture, given as indices [B, K]."""
        places = patches.to(self.patches.device).unsqueeze(-1)
        kept = torch.take_along_dim(self.patches, places, dim=1)
        return Tokens(self.cls, self.registers, kept, (1, patches.shape[1]))

    def patch_map(self) -> Tensor:
        """Return the patches as a picture, [B, h, w, D]."""
        return torch.unflatten(self.patches, 1, self.grid)


def join_maps(maps: list[Tensor]) -> Tensor:
    """Join feature maps [B, C_i, h_i, w_i] along the channels on the finest grid.

    Coarser maps are enlarged bilinearly. Returns [B, sum(C_i), h, w].
    """
    height = max(one.shape[-2] for one in maps)
    width = max(one.shape[-1] for one in maps)
    return torch.cat([_enlarge(one, (height, width)) for one in maps], dim=1)


def _enlarge(features: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(features.shape[-2:]) == size:
        return features
    return F.interpolate(features, size=size, mode="bilinear", align_corners=False)
