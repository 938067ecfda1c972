import torch

from dinotxt.losses.gram import gram_loss


def test_equal_similarities_cost_nothing_whatever_the_rotation() -> None:
    tokens = torch.randn(2, 5, 4, dtype=torch.float64)
    rotation, _ = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))
    assert gram_loss(tokens @ rotation, tokens).item() < 1e-20


def test_the_value_is_the_mean_squared_difference_of_the_gram_matrices() -> None:
    tokens = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
    target = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    assert gram_loss(tokens, target).item() == 0.5
    assert gram_loss(tokens, target, normalize=False).item() == (0 + 1 + 1 + 9) / 4


def test_the_target_receives_no_gradient() -> None:
    tokens, target = (torch.randn(1, 3, 2, requires_grad=True) for _ in range(2))
    loss = gram_loss(tokens, target)
    gradients = torch.autograd.grad(loss, [tokens, target], allow_unused=True)
    assert gradients[0] is not None
    assert gradients[1] is None
