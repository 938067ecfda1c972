import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dinotxt.losses import contrastive
from dinotxt.losses.contrastive import Relatives, clip_loss, sigmoid_loss


def features(count: int, width: int = 8, *, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    image, text = (
        F.normalize(torch.randn(count, width, generator=generator, dtype=torch.float64), dim=-1)
        for _ in range(2)
    )
    scale = torch.tensor(37.0, dtype=torch.float64)
    return image.requires_grad_(), text.requires_grad_(), scale.requires_grad_()


def plain(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
    logits = scale * image @ text.T
    own = torch.arange(len(image))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contrastive, "ROWS", 3)
    monkeypatch.setattr(contrastive, "COLUMNS", 5)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("count", [1, 2, 5, 13])
def test_chunked_loss_and_gradients_equal_the_plain_loss(count: int) -> None:
    inputs = features(count)
    expected = plain(*inputs)
    expected_gradients = torch.autograd.grad(expected * 3, inputs)
    loss = clip_loss(*inputs)
    gradients = torch.autograd.grad(loss * 3, inputs)
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-10)
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=0, atol=1e-10)


@pytest.mark.usefixtures("small_tiles")
def test_several_texts_a_picture_equal_the_plain_loss() -> None:
    image, text, scale = features(13)
    image = image[:5].detach().requires_grad_()
    owners = torch.tensor([0, 0, 1, 2, 2, 2, 3, 4, 4, 1, 3, 3, 0])
    inputs = (image, text, scale)
    logits = scale * image @ text.T
    own = F.one_hot(owners, 5).T.to(torch.float64)
    to_text = -(logits.log_softmax(1) * own / own.sum(1, keepdim=True)).sum(1).mean()
    expected = (to_text + F.cross_entropy(logits.T, owners)) / 2
    wanted = torch.autograd.grad(expected, inputs)
    loss = clip_loss(image, text, scale, owners)
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-10)
    for gradient, target in zip(torch.autograd.grad(loss, inputs), wanted, strict=True):
        torch.testing.assert_close(gradient, target, rtol=0, atol=1e-10)


@pytest.mark.usefixtures("small_tiles")
def test_gradients_agree_with_finite_differences() -> None:
    assert torch.autograd.gradcheck(clip_loss, features(7))


def test_extreme_logits_stay_finite_in_float32() -> None:
    image = F.normalize(torch.randn(6, 4), dim=-1).requires_grad_()
    text = (-image.detach()).requires_grad_()
    loss = clip_loss(image, text, torch.tensor(100.0))
    (gradient,) = torch.autograd.grad(loss, [image])
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()


def test_half_precision_features_give_a_float32_loss_and_half_gradients() -> None:
    image = F.normalize(torch.randn(6, 4), dim=-1).bfloat16().requires_grad_()
    loss = clip_loss(image, image.detach(), torch.tensor(10.0))
    (gradient,) = torch.autograd.grad(loss, [image])
    assert loss.dtype == torch.float32
    assert gradient.dtype == torch.bfloat16


def test_features_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3, 4\)"):
        clip_loss(torch.zeros(3, 4), torch.zeros(2, 4), torch.tensor(1.0))


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
def test_chunked_sigmoid_loss_and_gradients_equal_the_plain_loss(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contrastive, "ROWS", 3)
    monkeypatch.setattr(contrastive, "COLUMNS", 4)
    image, text, scale, bias = values = inputs(count)
    signs = 2 * torch.eye(count, dtype=torch.float64) - 1
    expected = -F.logsigmoid(signs * (scale * image @ text.T + bias)).sum() / count
    wanted = torch.autograd.grad(expected * 2, values)
    loss = sigmoid_loss(*values)
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-10)
    for gradient, target in zip(torch.autograd.grad(loss * 2, values), wanted, strict=True):
        torch.testing.assert_close(gradient, target, rtol=0, atol=1e-10)


def _dense(image: Tensor, text: Tensor, scale: Tensor, owners: Tensor, mask: Tensor) -> Tensor:
    """The loss by its definition, with a matrix of all logits."""
    logits = (scale * image @ text.T).masked_fill(mask, -torch.inf)
    positives = (scale * image[owners] * text).sum(1)
    counts = owners.bincount(minlength=len(image))
    to_text = (logits.logsumexp(1)[owners] - positives) / counts[owners] / len(image)
    return (to_text.sum() + (logits.logsumexp(0) - positives).mean()) / 2


@pytest.mark.parametrize("several", [False, True])
def test_relatives_are_no_negatives(monkeypatch: pytest.MonkeyPatch, several: bool) -> None:
    monkeypatch.setattr(contrastive, "ROWS", 3)
    monkeypatch.setattr(contrastive, "COLUMNS", 4)
    generator = torch.Generator().manual_seed(1)
    owners = torch.arange(10).repeat_interleave(2 if several else 1)
    image = torch.randn(10, 6, generator=generator, dtype=torch.float64)
    text = torch.randn(len(owners), 6, generator=generator, dtype=torch.float64)
    scale = torch.tensor(5.0, dtype=torch.float64)
    made = torch.tensor([[-1, -1]] * 5 + [[0, 0], [0, 2], [1, 1], [1, 2], [2, 3]])
    under = torch.zeros(
        5, 4, dtype=torch.bool
    )  # the terms 0, 1 and 3 are names, 2 is a kind of 0, 1
    for term, number in ((0, 0), (1, 1), (2, 0), (2, 1), (3, 2)):
        under[term, number] = True
    mask = torch.zeros(10, len(owners), dtype=torch.bool)
    for row, (number, term) in enumerate(made.tolist()):
        for column, owner in enumerate(owners.tolist()):
            other_number, other_term = made[owner].tolist()
            if owner != row and min(number, other_number) >= 0:
                mask[row, column] = bool(under[other_term, number] | under[term, other_number])
    assert mask[5:,].sum() == 10 * (2 if several else 1)
    inputs = [x.requires_grad_() for x in (image, text, scale)]
    expected = _dense(image, text, scale, owners, mask)
    wanted = torch.autograd.grad(expected, inputs)
    found = clip_loss(image, text, scale, owners, relatives=Relatives(made, under))
    torch.testing.assert_close(found, expected)
    for one, other in zip(torch.autograd.grad(found, inputs), wanted, strict=True):
        torch.testing.assert_close(one, other)
