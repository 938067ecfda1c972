"""The gram loss of DINOv3's text training: keep the similarities among a picture's patches."""

import torch.nn.functional as F
from torch import Tensor


def gram_loss(patch_tokens: Tensor, target_tokens: Tensor, *, normalize: bool = True) -> Tensor:
    """Compare the patch-to-patch similarities of two sets of tokens.

    Args:
        patch_tokens: ``[B, N, D]``, the trained tokens.
        target_tokens: ``[B, N, D']``, such as those of the frozen backbone; no gradient.
        normalize: Compare cosines rather than dot products.

    Returns:
        The mean squared difference of the two ``[B, N, N]`` Gram matrices.
    """
    target = target_tokens.detach()
    if normalize:
        patch_tokens, target = F.normalize(patch_tokens, dim=-1), F.normalize(target, dim=-1)
    return F.mse_loss(patch_tokens @ patch_tokens.mT, target @ target.mT)
