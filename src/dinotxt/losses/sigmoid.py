"""The sigmoid loss of SigLIP (Zhai et al., 2023), in chunks: an option, not the paper's loss."""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from dinotxt.losses.exchange import Exchange, Ring
from dinotxt.losses.tiles import compute_dtype, diagonal_of, tiles


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
