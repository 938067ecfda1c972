import math

import torch

from dinotxt.losses import clip_loss
from dinotxt.training.config import ClipLossConfig, SigmoidLossConfig
from dinotxt.training.objective import Objective


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
