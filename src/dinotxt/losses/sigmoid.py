"""The sigmoid loss of SigLIP (Zhai et al., 2023), in chunks: an option, not the paper's loss."""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from dinotxt.losses.tiles import compute_dtype, diagonal_of, tiles


def sigmoid_loss(
    image_features: Tensor, text_features: Tensor, logit_scale: Tensor, logit_bias: Tensor
) -> Tensor:
    """Compute the binary cross entropy of every image with every text, summed over texts.

    Args:
        image_features: ``[N, E]``, L2-normalised.
        text_features: ``[N, E]``, L2-normalised; row i belongs to image i.
        logit_scale: The factor of the cosines (a scalar, already exponentiated).
        logit_bias: A scalar added to every logit; SigLIP starts it at -10.

    Returns:
        A scalar: the sum over all N x N pairs divided by N.
    """
    return cast(
        "Tensor",
        _SigmoidLoss.apply(image_features, text_features, logit_scale, logit_bias),
    )


class _SigmoidLoss(torch.autograd.Function):
    """Needs no normaliser over rows, so the gradients come in the same pass as the value."""

    @staticmethod
    def forward(
        ctx: Any, image_features: Tensor, text_features: Tensor, scale: Tensor, bias: Tensor
    ) -> Tensor:
        dtype = compute_dtype(image_features, text_features)
        image, text = image_features.to(dtype), text_features.to(dtype)
        factor, shift = scale.to(dtype), bias.to(dtype)
        total, bias_sum = image.new_zeros(()), image.new_zeros(())
        image_sum, text_sum = torch.zeros_like(image), torch.zeros_like(text)
        for rows, columns in tiles(len(image), len(text)):
            logits = (image[rows] @ text[columns].T).mul_(factor).add_(shift)
            own = diagonal_of(logits, rows, columns)
            total += -F.logsigmoid(-logits).sum() - own.sum()
            weights = logits.sigmoid_()
            diagonal_of(weights, rows, columns).sub_(1)
            image_sum[rows].addmm_(weights, text[columns])
            text_sum[columns].addmm_(weights.T, image[rows])
            bias_sum += weights.sum()
        scale_sum = (image_sum * image).sum()
        ctx.save_for_backward(image_sum * factor, text_sum * factor, scale_sum, bias_sum)
        ctx.inputs = [(x.dtype, x.shape) for x in (image_features, text_features, scale, bias)]
        return total / len(image)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, ...]:
        sums = ctx.saved_tensors
        unit = grad_outputs[0].to(sums[0].dtype) / len(sums[0])
        return tuple(
            (total * unit).to(dtype).reshape(shape)
            for total, (dtype, shape) in zip(sums, ctx.inputs, strict=True)
        )
