import math

import torch

from dinotxt.losses import clip_loss
from dinotxt.training.config import ClipLossConfig, SigmoidLossConfig
from dinotxt.training.update.objective import Objective


def test_features_are_normalised_over_the_whole_vector() -> None:
    image, text = torch.randn(2, 5, 8, dtype=torch.float64).unbind()
    units = [x / x.norm(dim=1, keepdim=True) for x in (image, text)]
    loss = Objective(ClipLossConfig())(image, 7 * text, torch.tensor(math.log(20.0)))
    torch.testing.assert_close(loss, clip_loss(units[0], units[1], torch.tensor(20.0)))


def test_the_bias_of_the_sigmoid_loss_is_trained() -> None:
    objective = Objective(SigmoidLossConfig(bias=-3.0))
    image, text = torch.randn(2, 5, 8).unbind()
    loss = objective(image, text, torch.tensor(2.0))
    (gradient,) = torch.autograd.grad(loss, list(objective.parameters()))
    assert [value.item() for value in objective.parameters()] == [-3.0]
    assert gradient.item() != 0


def test_halves_have_losses_of_their_own() -> None:
    image, text = torch.randn(2, 5, 8, dtype=torch.float64).unbind()
    scale = torch.tensor(math.log(20.0))
    halves = Objective(ClipLossConfig(), cls_dim=3)
    parts = [
        Objective(ClipLossConfig())(image[:, part], text[:, part], scale)
        for part in (slice(0, 3), slice(3, 8))
    ]
    torch.testing.assert_close(halves(image, text, scale), parts[0] + parts[1])
    stretched = torch.cat([9 * image[:, :3], image[:, 3:]], dim=1)
    torch.testing.assert_close(halves(stretched, text, scale), parts[0] + parts[1])


def test_parts_of_the_gram_loss_are_added() -> None:
    image, text = torch.randn(2, 5, 8).unbind()
    gram = torch.tensor([0.5, 0.25], requires_grad=True)
    plain = Objective(ClipLossConfig())(image, text, torch.tensor(2.0))
    loss = Objective(ClipLossConfig())(image, text, torch.tensor(2.0), None, gram)
    torch.testing.assert_close(loss, plain + 0.75)
    assert torch.autograd.grad(loss, gram)[0].tolist() == [1.0, 1.0]
