"""The gram loss of DINOv3's text training: keep the similarities among a picture's patches."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dinotxt.losses.contrastive import compute_dtype


def gram_loss(patch_tokens: Tensor, target_tokens: Tensor, *, normalize: bool = True) -> Tensor:
    """Compare the patch-to-patch similarities of two sets of tokens.

    Args:
        patch_tokens: ``[B, N, D]``, the trained tokens.
        target_tokens: ``[B, N, D']``, such as those of the frozen backbone; no gradient.
        normalize: Compare cosines rather than dot products.

    Returns:
        The mean squared difference of the two ``[B, N, N]`` Gram matrices, in float32 also under
        autocast (float64 for float64 input).
    """
    dtype = compute_dtype(patch_tokens, target_tokens)
    own, target = patch_tokens.to(dtype), target_tokens.detach().to(dtype)
    with torch.autocast(own.device.type, enabled=False):
        if normalize:
            own, target = F.normalize(own, dim=-1), F.normalize(target, dim=-1)
        return F.mse_loss(own @ own.mT, target @ target.mT)
