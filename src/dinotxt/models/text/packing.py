"""Batches of texts without padding: only real tokens are computed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class PackedTexts:
    """The real tokens of a batch in one row, texts of equal length side by side.

    Attributes:
        ids: Token ids, [T] for T real tokens.
        positions: Place of each token in its text, [T].
        groups: (number of texts, their length) in the order of the row.
        order: Index of each packed text in the batch, [B].
    """

    ids: Tensor
    positions: Tensor
    groups: tuple[tuple[int, int], ...]
    order: Tensor

    @classmethod
    def from_batch(cls, token_ids: Tensor, lengths: Tensor) -> "PackedTexts":
        """Pack padded token ids [B, L] with their lengths [B]."""
        order = torch.argsort(lengths, stable=True)
        sorted_lengths = lengths[order]
        places = torch.arange(token_ids.shape[1], device=token_ids.device)
        real = places < sorted_lengths.unsqueeze(1)
        positions = places.expand_as(real)[real]
        sizes, counts = torch.unique_consecutive(sorted_lengths, return_counts=True)
        groups = tuple(zip(counts.tolist(), sizes.tolist(), strict=True))
        return cls(token_ids[order][real], positions, groups, order)

    def by_length(self, row: Tensor) -> Iterator[Tensor]:
        """Give the parts of a row [T, ...] as [texts, length, ...], one for each length."""
        sizes = [count * length for count, length in self.groups]
        for part, group in zip(torch.split(row, sizes), self.groups, strict=True):
            yield torch.unflatten(part, 0, group)

    def apply(self, function: Callable[[Tensor], Tensor], row: Tensor) -> Tensor:
        """Apply ``function`` to [texts, length, ...] of each length; join the results to a row."""
        return torch.cat([function(part).flatten(0, 1) for part in self.by_length(row)])

    def last(self, row: Tensor) -> Tensor:
        """Return the last token of every text in the order of the batch, [B, ...]."""
        last = torch.cat([part[:, -1] for part in self.by_length(row)])
        return torch.empty_like(last).index_copy(0, self.order, last)
