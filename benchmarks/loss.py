"""The CLIP loss in tiles against open_clip's: memory at the paper's batch, time at 8,192."""

import multiprocessing
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss
from torch import Tensor

from dinotxt.losses import clip_loss
from harness import Figure, added_memory, limit, main, paired_rates

_PAIRS, _WIDTH = 65_536, 768
_GIB = 2**30
_LIMIT = 1.0
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def measure(quick: bool) -> dict[str, Figure]:
    """Measure forward and backward; memory is what the peak of a fresh process adds to inputs."""
    pairs, few = (8_192, (1_024, 2_048)) if quick else (_PAIRS, (8_192, 16_384))
    ours = _memory("dinotxt", pairs)
    scaled = sum(_memory("open_clip", n) * (pairs / n) ** 2 for n in few) / len(few)
    note = f"GiB at {pairs} (peer measured at {few[0]} and {few[1]}, scaled by N^2)"
    timed, runs = (2_048, 3) if quick else (8_192, 5)
    inputs = _inputs(timed)
    return {
        "memory": limit(ours, limit=_LIMIT, unit=f"GiB at {pairs}"),
        "memory_open_clip": Figure(value=ours, peer=scaled, ratio=scaled / ours, unit=note, runs=1),
        "time": paired_rates(
            partial(_step, _loss("dinotxt"), inputs),
            partial(_step, _loss("open_clip"), inputs),
            work=timed,
            unit=f"pairs/s at {timed}",
            runs=runs,
        ),
    }


def _loss(name: str) -> Loss:
    return clip_loss if name == "dinotxt" else ClipLoss()


def _inputs(pairs: int) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    image, text = (F.normalize(torch.randn(pairs, _WIDTH), dim=-1) for _ in range(2))
    return image.requires_grad_(), text.requires_grad_(), torch.tensor(14.0, requires_grad=True)


def _step(loss: Loss, inputs: tuple[Tensor, Tensor, Tensor]) -> None:
    for part in inputs:
        part.grad = None
    loss(*inputs).backward()  # type: ignore[no-untyped-call]


def _memory(name: str, pairs: int) -> float:
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_growth, (name, pairs)) / _GIB


def _growth(name: str, pairs: int) -> int:
    """Return bytes that one step adds to a process that holds its inputs."""
    loss = _loss(name)
    _step(loss, _inputs(64))
    inputs = _inputs(pairs)
    return added_memory(lambda: _step(loss, inputs))


if __name__ == "__main__":
    main("loss", measure)
