"""The contrastive losses, in tiles: CLIP's softmax (section 3.1) and, an option, SigLIP's sigmoid.

The forward pass of CLIP's keeps the logsumexp of every row and column; the backward pass computes
the logits again, tile by tile. Memory is O(N E) beyond one tile, where the plain loss needs O(N^2).
SigLIP's (Zhai et al., 2023) needs no normaliser. With several processes each holds its own pairs,
and the texts come to its images.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from dinotxt.losses.exchange import Exchange, Ring

ROWS = 1024
COLUMNS = 8192


def tiles(num_rows: int, num_columns: int) -> Iterator[tuple[slice, slice]]:
    """Yield the row and column ranges of every tile, row by row."""
    for row in range(0, num_rows, ROWS):
        for column in range(0, num_columns, COLUMNS):
            yield (
                slice(row, min(row + ROWS, num_rows)),
                slice(column, min(column + COLUMNS, num_columns)),
            )


def diagonal_of(tile: Tensor, rows: slice, columns: slice) -> Tensor:
    """Return the view of ``tile`` that lies on the diagonal of the whole matrix (maybe empty)."""
    return torch.diagonal(tile, rows.start - columns.start)


def compute_dtype(*tensors: Tensor) -> torch.dtype:
    """Return the type to compute in: float32, or float64 where a tensor has it."""
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


@dataclass(frozen=True, slots=True, eq=False)
class Relatives:
    """Pairs that are no negatives of each other: the class of one lies under the other's term.

    Attributes:
        made: ``[N, 2]``, the class and the term of each picture of this process; -1 for none.
        lies_under: ``[terms + 1, classes + 1]`` bool; the last row and column are False.
    """

    made: Tensor
    lies_under: Tensor

    def mask(self, rows: slice, texts: Tensor) -> Tensor:
        """Return ``[n, m]``: which pictures are related to texts, whose pairs are ``[m, 2]``."""
        images = self.made[rows].unsqueeze(1)
        return (
            self.lies_under[texts[:, 1], images[..., 0]]
            | (self.lies_under[images[..., 1], texts[:, 0]])
        )


def clip_loss(
    image_features: Tensor,
    text_features: Tensor,
    logit_scale: Tensor,
    owners: Tensor | None = None,
    exchange: Exchange | None = None,
    relatives: Relatives | None = None,
) -> Tensor:
    """Compute the mean of the image-to-text and the text-to-image cross entropy.

    With ``owners`` a picture may have several texts: its image-to-text term is the average over
    them, and each text has a text-to-image term of its own.

    Args:
        image_features: ``[N, E]``, L2-normalised; with several processes the pictures of this one.
        text_features: ``[M, E]``, L2-normalised; likewise.
        logit_scale: The factor of the cosines (a scalar, already exponentiated).
        owners: ``[M]``, the picture (of this process) of each text, each picture at least once;
            None: M is N and text i belongs to picture i.
        exchange: How processes compare their features; None: this process alone.
        relatives: Which pictures and texts of different pairs are left out of both sums.

    Returns:
        A scalar in float32 (float64 for float64 input), the loss of all processes' pairs on each
        of them. Features receive its exact gradient; that of the scale is this process's part,
        and the parts of all processes sum to the whole.
    """
    num_owners = len(image_features) if owners is None else len(owners)
    if text_features.shape != (num_owners, image_features.shape[-1]) or image_features.ndim != 2:
        raise ValueError(
            f"image features {tuple(image_features.shape)} and text features "
            f"{tuple(text_features.shape)} must be [N, E] and [{num_owners}, E]"
        )
    if owners is None:
        owners = torch.arange(num_owners, device=image_features.device)
    exchange = exchange or Ring()
    return cast(
        "Tensor",
        _ClipLoss.apply(image_features, text_features, logit_scale, owners, exchange, relatives),
    )


class _ClipLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        image_features: Tensor,
        text_features: Tensor,
        scale: Tensor,
        owners: Tensor,
        exchange: Exchange,
        relatives: Relatives | None,
    ) -> Tensor:
        dtype = compute_dtype(image_features, text_features)
        image, text = image_features.to(dtype), text_features.to(dtype)
        counts = exchange.counts(len(image), len(text), device=image.device)
        num_images, lengths = sum(images for images, _ in counts), [texts for _, texts in counts]
        starts = [0, *accumulate(lengths)]
        row_lse = image.new_full((len(image),), -torch.inf)
        column_lse = image.new_full((starts[-1],), -torch.inf)
        scaled = image * scale.to(dtype)
        leave_out = _leave_out(relatives, owners, exchange, lengths)
        for process, block in exchange.blocks(text, lengths):
            part = column_lse[starts[process] :][: len(block)]
            for rows, columns in tiles(len(image), len(block)):
                logits = leave_out(scaled[rows] @ block[columns].T, process, rows, columns)
                row_lse[rows] = torch.logaddexp(row_lse[rows], logits.logsumexp(1))
                part[columns] = torch.logaddexp(part[columns], logits.logsumexp(0))
        column_lse = exchange.logsumexp(column_lse)
        positives = (scaled[owners] * text).sum(1)
        shares = _shares(owners, len(image), num_images, dtype)
        ctx.save_for_backward(image_features, text_features, scale, owners, row_lse, column_lse)
        ctx.exchange, ctx.num_images, ctx.lengths = exchange, num_images, lengths
        ctx.leave_out = leave_out
        own_lse = column_lse[starts[exchange.rank] :][: len(text)]
        to_text = row_lse.sum() / num_images - (positives * shares).sum()
        return exchange.total((to_text + (own_lse - positives).sum() / starts[-1]) / 2)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        image_features, text_features, scale, owners, row_lse, column_lse = ctx.saved_tensors
        dtype = row_lse.dtype
        image, text = image_features.to(dtype), text_features.to(dtype)
        factor = scale.to(dtype)
        scaled = image * factor
        starts = [0, *accumulate(ctx.lengths)]
        # 2 d loss / d logits = row softmax / N + column softmax / M - the weight of a positive
        weight = _shares(owners, len(image), ctx.num_images, dtype) + 1 / starts[-1]
        image_sum = torch.zeros_like(image).index_add_(0, owners, text * -weight.unsqueeze(1))
        # the divisions by N and M are folded into the normalisers
        row_lse = row_lse + math.log(ctx.num_images)
        column_lse = column_lse + math.log(starts[-1])

        def add(process: int, block: Tensor, text_sum: Tensor) -> None:
            if process == ctx.exchange.rank:
                torch.index_select(image, 0, owners, out=text_sum).mul_(-weight.unsqueeze(1))
            normalisers = column_lse[starts[process] :]
            for rows, columns in tiles(len(image), len(block)):
                logits = ctx.leave_out(scaled[rows] @ block[columns].T, process, rows, columns)
                weights = (logits - normalisers[columns]).exp_()
                weights += logits.sub_(row_lse[rows, None]).exp_()
                image_sum[rows].addmm_(weights, block[columns])
                text_sum[columns].addmm_(weights.T, image[rows])

        text_sum = ctx.exchange.sums(text, ctx.lengths, add)
        unit = grad_outputs[0].to(dtype) / 2
        scale_grad = (image_sum * image).sum() * unit
        return (
            image_sum.mul_(unit * factor).to(image_features.dtype),
            text_sum.mul_(unit * factor).to(text_features.dtype),
            scale_grad.to(scale.dtype).reshape(scale.shape),
            None,
            None,
            None,
        )


def _leave_out(
    relatives: Relatives | None, owners: Tensor, exchange: Exchange, lengths: Sequence[int]
) -> Callable[[Tensor, int, slice, slice], Tensor]:
    """Return what takes a process's tile of logits and puts -inf where relatives meet."""
    if relatives is None:
        return lambda logits, process, rows, columns: logits
    texts = dict(exchange.blocks(relatives.made[owners], lengths))

    def leave_out(logits: Tensor, process: int, rows: slice, columns: slice) -> Tensor:
        mask = relatives.mask(rows, texts[process][columns])
        if process == exchange.rank:
            numbers = torch.arange(rows.start, rows.stop, device=owners.device)
            mask &= owners[columns] != numbers.unsqueeze(1)
        return logits.masked_fill_(mask, -torch.inf)

    return leave_out


def _shares(owners: Tensor, own_images: int, num_images: int, dtype: torch.dtype) -> Tensor:
    """Return the weight of each text among the images' terms, ``[M]``; over all, the sum is 1."""
    counts = owners.bincount(minlength=own_images)
    return 1 / (counts[owners].to(dtype) * num_images)


def sigmoid_loss(
    image_features: Tensor,
    text_features: Tensor,
    logit_scale: Tensor,
    logit_bias: Tensor,
    exchange: Exchange | None = None,
) -> Tensor:
    """Compute the binary cross entropy of every image with every text, summed over texts.

    Args:
        image_features: ``[N, E]``, L2-normalised; with several processes those of this one.
        text_features: ``[N, E]``, L2-normalised; row i belongs to image i.
        logit_scale: The factor of the cosines (a scalar, already exponentiated).
        logit_bias: A scalar added to every logit; SigLIP starts it at -10.
        exchange: How processes compare their features; None: this process alone.

    Returns:
        A scalar: the sum over all N x N pairs divided by N, N over all processes. Features
        receive its exact gradient, scale and bias this process's part of theirs.
    """
    return cast(
        "Tensor",
        _SigmoidLoss.apply(
            image_features, text_features, logit_scale, logit_bias, exchange or Ring()
        ),
    )


class _SigmoidLoss(torch.autograd.Function):
    """Needs no normaliser over rows, so the gradients come in the same pass as the value."""

    @staticmethod
    def forward(
        ctx: Any,
        image_features: Tensor,
        text_features: Tensor,
        scale: Tensor,
        bias: Tensor,
        exchange: Exchange,
    ) -> Tensor:
        dtype = compute_dtype(image_features, text_features)
        image, text = image_features.to(dtype), text_features.to(dtype)
        factor, shift = scale.to(dtype), bias.to(dtype)
        counts = exchange.counts(len(image), len(text), device=image.device)
        total, bias_sum = image.new_zeros(()), image.new_zeros(())
        image_sum = torch.zeros_like(image)

        def add(process: int, block: Tensor, text_sum: Tensor) -> None:
            for rows, columns in tiles(len(image), len(block)):
                logits = (image[rows] @ block[columns].T).mul_(factor).add_(shift)
                own = diagonal_of(logits, rows, columns) if process == exchange.rank else logits[:0]
                total.add_(-F.logsigmoid(-logits).sum() - own.sum())
                weights = logits.sigmoid_()
                own.sub_(1)
                image_sum[rows].addmm_(weights, block[columns])
                text_sum[columns].addmm_(weights.T, image[rows])
                bias_sum.add_(weights.sum())

        text_sum = exchange.sums(text, [texts for _, texts in counts], add)
        scale_sum = (image_sum * image).sum()
        ctx.save_for_backward(image_sum * factor, text_sum * factor, scale_sum, bias_sum)
        ctx.inputs = [(x.dtype, x.shape) for x in (image_features, text_features, scale, bias)]
        ctx.num_images = sum(images for images, _ in counts)
        loss: Tensor = exchange.total(total) / ctx.num_images
        return loss

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        sums = ctx.saved_tensors
        unit = grad_outputs[0].to(sums[0].dtype) / ctx.num_images
        gradients = [
            (total * unit).to(dtype).reshape(shape)
            for total, (dtype, shape) in zip(sums, ctx.inputs, strict=True)
        ]
        return (*gradients, None)
