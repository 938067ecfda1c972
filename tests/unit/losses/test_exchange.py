"""The losses over real processes, against one process with the whole batch."""

from collections.abc import Callable
from itertools import accumulate
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from dinotxt.losses import Exchange, Gather, Relatives, Ring, clip_loss, contrastive, sigmoid_loss

Together = Callable[[int, Callable[[int], Any]], list[Any]]
Loss = Callable[[Tensor, Tensor, Tensor, Tensor | None, Exchange], Tensor]
IMAGES = {2: (5, 3), 4: (3, 1, 4, 2)}
MADE = torch.tensor(
    [[0, 0], [-1, -1], [1, 2], [0, 1], [2, 0], [1, 1], [-1, -1], [2, 2], [0, 2], [1, 0]]
)
UNDER = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]]).bool()
OWNERS = (0, 0, 1, 2, 2, 2, 3, 4, 5, 5, 6, 7, 8, 9, 9, 9)


def clip(
    image: Tensor, text: Tensor, scale: Tensor, owners: Tensor | None, exchange: Exchange
) -> Tensor:
    return clip_loss(image, text, scale, owners, exchange)


def related(
    image: Tensor, text: Tensor, scale: Tensor, owners: Tensor | None, exchange: Exchange
) -> Tensor:
    start = sum(IMAGES[exchange.size][: exchange.rank]) if exchange.size > 1 else 0
    relatives = Relatives(MADE[start : start + len(image)], UNDER)
    return clip_loss(image, text, scale, owners, exchange, relatives)


def sigmoid(
    image: Tensor, text: Tensor, scale: Tensor, owners: Tensor | None, exchange: Exchange
) -> Tensor:
    return sigmoid_loss(image, text, scale, scale.detach() - 40, exchange)


def sides(num_images: int, num_texts: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    image, text = (
        F.normalize(torch.randn(count, 6, generator=generator, dtype=torch.float64), dim=-1)
        for count in (num_images, num_texts)
    )
    return image, text, torch.tensor(31.0, dtype=torch.float64)


def gradients(
    loss: Loss, inputs: tuple[Tensor, ...], owners: Tensor | None, exchange: Exchange
) -> list[Tensor]:
    leaves = [part.clone().requires_grad_() for part in inputs]
    value = loss(*leaves, owners, exchange)  # type: ignore[call-arg, arg-type]
    return [value.detach(), *torch.autograd.grad(value * 3, leaves)]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("count", [2, 4])
def test_processes_give_the_loss_and_gradients_of_one(
    count: int, together: Together, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contrastive, "ROWS", 2)
    monkeypatch.setattr(contrastive, "COLUMNS", 3)
    num_images = IMAGES[count]
    starts = [0, *accumulate(num_images)]
    every = torch.tensor([owner for owner in OWNERS if owner < starts[-1]])
    cases: list[tuple[Loss, Tensor | None]] = [
        (clip, None),
        (clip, every),
        (related, None),
        (related, every),
        (sigmoid, None),
    ]

    def rows(rank: int, owners: Tensor | None) -> tuple[slice, slice, Tensor | None]:
        images = slice(starts[rank], starts[rank + 1])
        if owners is None:
            return images, images, None
        mine = ((owners >= images.start) & (owners < images.stop)).nonzero()[:, 0]
        texts = slice(int(mine[0]), int(mine[-1]) + 1)
        return images, texts, owners[texts] - images.start

    def work(rank: int) -> list[list[Tensor]]:
        found = []
        for kind in (Ring, Gather):
            for loss, owners in cases:
                images, texts, own = rows(rank, owners)
                image, text, scale = sides(starts[-1], starts[-1] if owners is None else len(every))
                inputs = (image[images], text[texts], scale)
                found.append(gradients(loss, inputs, own, kind(dist.group.WORLD)))
        return found

    results = together(count, work)
    for number, (loss, owners) in enumerate(2 * cases):
        whole = sides(starts[-1], starts[-1] if owners is None else len(every))
        value, image_grad, text_grad, scale_grad = gradients(loss, whole, owners, Ring())
        parts = [result[number] for result in results]
        for rank, part in enumerate(parts):
            images, texts, _ = rows(rank, owners)
            torch.testing.assert_close(part[0], value, rtol=0, atol=1e-10)
            torch.testing.assert_close(part[1], image_grad[images], rtol=0, atol=1e-10)
            torch.testing.assert_close(part[2], text_grad[texts], rtol=0, atol=1e-10)
        total = torch.stack([part[3] for part in parts]).sum()
        torch.testing.assert_close(total, scale_grad, rtol=0, atol=1e-10)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_every_process_holds_the_same_loss_to_the_last_bit(together: Together) -> None:
    def work(rank: int) -> float:
        image, text, scale = (part.float() for part in sides(9, 9))
        mine = slice(3 * rank, 3 * rank + 3)
        return clip_loss(image[mine], text[mine], scale, None, Ring(dist.group.WORLD)).item()

    assert len(set(together(3, work))) == 1
