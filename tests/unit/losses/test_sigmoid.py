import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dinotxt.losses import tiles
from dinotxt.losses.sigmoid import sigmoid_loss


def inputs(count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    image, text = (
        F.normalize(torch.randn(count, 6, generator=generator, dtype=torch.float64), dim=-1)
        for _ in range(2)
    )
    scale, bias = (torch.tensor(value, dtype=torch.float64) for value in (10.0, -4.0))
    return (
        image.requires_grad_(),
        text.requires_grad_(),
        scale.requires_grad_(),
        bias.requires_grad_(),
    )


@pytest.mark.parametrize("count", [1, 4, 11])
def test_chunked_loss_and_gradients_equal_the_plain_loss(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "ROWS", 3)
    monkeypatch.setattr(tiles, "COLUMNS", 4)
    image, text, scale, bias = values = inputs(count)
    signs = 2 * torch.eye(count, dtype=torch.float64) - 1
    expected = -F.logsigmoid(signs * (scale * image @ text.T + bias)).sum() / count
    wanted = torch.autograd.grad(expected * 2, values)
    loss = sigmoid_loss(*values)
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-10)
    for gradient, target in zip(torch.autograd.grad(loss * 2, values), wanted, strict=True):
        torch.testing.assert_close(gradient, target, rtol=0, atol=1e-10)
