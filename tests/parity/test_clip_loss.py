"""The CLIP loss against open_clip's own."""

import torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss

from dinotxt.losses.contrastive import clip_loss


def test_loss_and_gradients_equal_open_clip_in_float64() -> None:
    generator = torch.Generator().manual_seed(0)
    image, text = (
        F.normalize(
            torch.randn(40, 16, generator=generator, dtype=torch.float64), dim=-1
        ).requires_grad_()
        for _ in range(2)
    )
    scale = torch.tensor(14.2857, dtype=torch.float64, requires_grad=True)
    inputs = (image, text, scale)
    expected = ClipLoss()(image, text, scale)
    loss = clip_loss(*inputs)
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-10)
    for gradient, wanted in zip(
        torch.autograd.grad(loss, inputs), torch.autograd.grad(expected, inputs), strict=True
    ):
        torch.testing.assert_close(gradient, wanted, rtol=0, atol=1e-10)
