"""The CLIP loss of section 3.1 (the softmax loss of CLIP and OpenCLIP), in chunks.

The forward pass keeps the logsumexp of every row and column; the backward pass computes the
logits again, tile by tile. Memory is O(N E) beyond one tile, where the plain loss needs O(N^2).
"""

from typing import Any, cast

import torch
from torch import Tensor

from dinotxt.losses.tiles import compute_dtype, tiles


def clip_loss(image_features: Tensor, text_features: Tensor, logit_scale: Tensor) -> Tensor:
    """Compute the mean of the image-to-text and the text-to-image cross entropy.

    Args:
        image_features: ``[N, E]``, L2-normalised.
        text_features: ``[N, E]``, L2-normalised; row i belongs to image i.
        logit_scale: The factor of the cosines (a scalar, already exponentiated).

    Returns:
        A scalar in float32 (float64 for float64 input); gradients reach all three inputs.
    """
    if image_features.shape != text_features.shape or image_features.ndim != 2:
        raise ValueError(
            f"image features {tuple(image_features.shape)} and text features "
            f"{tuple(text_features.shape)} must both be [N, E]"
        )
    return cast("Tensor", _ClipLoss.apply(image_features, text_features, logit_scale))


class _ClipLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image_features: Tensor, text_features: Tensor, scale: Tensor) -> Tensor:
        dtype = compute_dtype(image_features, text_features)
        image, text = image_features.to(dtype), text_features.to(dtype)
        row_lse = image.new_full((len(image),), -torch.inf)
        column_lse = row_lse.clone()
        scaled = image * scale.to(dtype)
        for rows, columns in tiles(len(image), len(text)):
            logits = scaled[rows] @ text[columns].T
            row_lse[rows] = torch.logaddexp(row_lse[rows], logits.logsumexp(1))
            column_lse[columns] = torch.logaddexp(column_lse[columns], logits.logsumexp(0))
        positives = (scaled * text).sum(1)
        ctx.save_for_backward(image_features, text_features, scale, row_lse, column_lse)
        return (row_lse + column_lse - 2 * positives).mean() / 2

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        image_features, text_features, scale, row_lse, column_lse = ctx.saved_tensors
        dtype = row_lse.dtype
        image, text = image_features.to(dtype), text_features.to(dtype)
        factor = scale.to(dtype)
        scaled = image * factor
        # d loss / d logits = (softmax over rows + softmax over columns - 2 identity) / 2N
        image_sum, text_sum = text.mul(-2), image.mul(-2)
        for rows, columns in tiles(len(image), len(text)):
            logits = scaled[rows] @ text[columns].T
            weights = (logits - column_lse[columns]).exp_()
            weights += logits.sub_(row_lse[rows, None]).exp_()
            image_sum[rows].addmm_(weights, text[columns])
            text_sum[columns].addmm_(weights.T, image[rows])
        unit = grad_outputs[0].to(dtype) / (2 * len(image))
        scale_grad = (image_sum * image).sum() * unit
        return (
            (image_sum * (unit * factor)).to(image_features.dtype),
            (text_sum * (unit * factor)).to(text_features.dtype),
            scale_grad.to(scale.dtype).reshape(scale.shape),
        )
