"""The CLIP loss of section 3.1 (the softmax loss of CLIP and OpenCLIP), in chunks.

The forward pass keeps the logsumexp of every row and column; the backward pass computes the
logits again, tile by tile. Memory is O(N E) beyond one tile, where the plain loss needs O(N^2).
"""

import math
from typing import Any, cast

import torch
from torch import Tensor

from dinotxt.losses.tiles import compute_dtype, tiles


def clip_loss(
    image_features: Tensor,
    text_features: Tensor,
    logit_scale: Tensor,
    owners: Tensor | None = None,
) -> Tensor:
    """Compute the mean of the image-to-text and the text-to-image cross entropy.

    With ``owners`` a picture may have several texts: its image-to-text term is the average over
    them, and each text has a text-to-image term of its own.

    Args:
        image_features: ``[N, E]``, L2-normalised.
        text_features: ``[M, E]``, L2-normalised.
        logit_scale: The factor of the cosines (a scalar, already exponentiated).
        owners: ``[M]``, the picture of each text, each picture at least once; None: M is N and
            text i belongs to picture i.

    Returns:
        A scalar in float32 (float64 for float64 input); gradients reach both features and scale.
    """
    num_owners = len(image_features) if owners is None else len(owners)
    if text_features.shape != (num_owners, image_features.shape[-1]) or image_features.ndim != 2:
        raise ValueError(
            f"image features {tuple(image_features.shape)} and text features "
            f"{tuple(text_features.shape)} must be [N, E] and [{num_owners}, E]"
        )
    if owners is None:
        owners = torch.arange(num_owners, device=image_features.device)
    return cast("Tensor", _ClipLoss.apply(image_features, text_features, logit_scale, owners))


class _ClipLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, image_features: Tensor, text_features: Tensor, scale: Tensor, owners: Tensor
    ) -> Tensor:
        dtype = compute_dtype(image_features, text_features)
        image, text = image_features.to(dtype), text_features.to(dtype)
        row_lse = image.new_full((len(image),), -torch.inf)
        column_lse = image.new_full((len(text),), -torch.inf)
        scaled = image * scale.to(dtype)
        for rows, columns in tiles(len(image), len(text)):
            logits = scaled[rows] @ text[columns].T
            row_lse[rows] = torch.logaddexp(row_lse[rows], logits.logsumexp(1))
            column_lse[columns] = torch.logaddexp(column_lse[columns], logits.logsumexp(0))
        positives = (scaled[owners] * text).sum(1)
        shares = _shares(owners, len(image), dtype)
        ctx.save_for_backward(image_features, text_features, scale, owners, row_lse, column_lse)
        to_text = row_lse.mean() - (positives * shares).sum()
        return (to_text + (column_lse - positives).mean()) / 2

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        image_features, text_features, scale, owners, row_lse, column_lse = ctx.saved_tensors
        dtype = row_lse.dtype
        image, text = image_features.to(dtype), text_features.to(dtype)
        factor = scale.to(dtype)
        scaled = image * factor
        num_rows, num_columns = len(image), len(text)
        # 2 d loss / d logits = row softmax / N + column softmax / M - the weight of a positive
        weight = (_shares(owners, num_rows, dtype) + 1 / num_columns).unsqueeze(1)
        text_sum = image[owners] * -weight
        image_sum = torch.zeros_like(image).index_add_(0, owners, text * -weight)
        # the divisions by N and M are folded into the normalisers
        row_lse, column_lse = row_lse + math.log(num_rows), column_lse + math.log(num_columns)
        for rows, columns in tiles(num_rows, num_columns):
            logits = scaled[rows] @ text[columns].T
            weights = (logits - column_lse[columns]).exp_()
            weights += logits.sub_(row_lse[rows, None]).exp_()
            image_sum[rows].addmm_(weights, text[columns])
            text_sum[columns].addmm_(weights.T, image[rows])
        unit = grad_outputs[0].to(dtype) / 2
        scale_grad = (image_sum * image).sum() * unit
        return (
            (image_sum * (unit * factor)).to(image_features.dtype),
            (text_sum * (unit * factor)).to(text_features.dtype),
            scale_grad.to(scale.dtype).reshape(scale.shape),
            None,
        )


def _shares(owners: Tensor, num_images: int, dtype: torch.dtype) -> Tensor:
    """Return the weight of each text among the images' terms, ``[M]``, with the sum 1."""
    counts = owners.bincount(minlength=num_images)
    return 1 / (counts[owners].to(dtype) * num_images)
