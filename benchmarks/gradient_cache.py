"""One step of 65,536 pairs on a pooled cache by gradient caching: memory beyond its inputs."""

import multiprocessing

import torch
from torch import Tensor

from dinotxt.config import load_config
from dinotxt.models.dinotxt import DinoTxt
from dinotxt.models.vision import Tokens
from dinotxt.training.config import TrainConfig
from dinotxt.training.distributed.world import World
from dinotxt.training.feed.batches import Batch
from dinotxt.training.update.objective import Objective
from dinotxt.training.update.step import TrainingStep
from dinotxt.training.update.towers import TrainedTowers
from harness import Figure, added_memory, limit, main

_PAIRS, _MICRO = 65_536, 1_024
_WIDTH = 256
_EQUAL = 2_048
_SHORTEST, _LONGEST = 8, 20  # tokens of a caption; Flickr8k's mean is 13.8
_GIB = 2**30


def measure(quick: bool) -> dict[str, Figure]:
    """Measure the peak of fresh processes; the whole batch at once is scaled by N."""
    pairs, micro, few = (8_192, 512, 1_024) if quick else (_PAIRS, _MICRO, 4_096)
    ours = _memory(pairs, micro)
    whole = _memory(few, few) * pairs / few
    note = f"GiB at {pairs} (peer: in one pass, measured at {few}, scaled by N)"
    return {
        "memory": Figure(value=ours, peer=whole, ratio=whole / ours, unit=note, runs=1),
        "equality": limit(
            _difference(_EQUAL), limit=1e-10, unit=f"largest gradient difference at {_EQUAL}"
        ),
    }


def _memory(pairs: int, micro: int) -> float:
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_growth, (pairs, micro)) / _GIB


def _growth(pairs: int, micro: int) -> int:
    """Return bytes that one step adds to a process that holds its model and inputs."""
    _, step = _build(torch.float32)
    step(0, _batches(64, 64, torch.float32))
    batches = _batches(pairs, micro, torch.float32)
    return added_memory(lambda: step(1, batches))


def _difference(pairs: int) -> float:
    """Return the largest difference of a gradient between one pass and chunks, in float64."""
    gradients = []
    for micro in (pairs, pairs // 8):
        model, step = _build(torch.float64)
        step(0, _batches(pairs, micro, torch.float64))
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    return max(float((one - other).abs().max()) for one, other in zip(*gradients, strict=True))


def _build(dtype: torch.dtype) -> tuple[DinoTxt, TrainingStep]:
    config = load_config(
        TrainConfig,
        {
            "output": "unused",
            "steps": 1,
            "batch_size": _PAIRS,
            "model": {
                "backbone": {
                    "name": "vit_tiny_patch16_224",
                    "weights": "random",
                    "options": {"embed_dim": _WIDTH, "depth": 1, "num_heads": 4},
                },
                "vision_head": {"num_blocks": 0, "dim": _WIDTH},
                "text_encoder": {"kind": "transformer", "width": 128, "layers": 2, "heads": 2},
            },
            "data": {"train": "unused"},
        },
    )
    torch.manual_seed(0)
    model = DinoTxt.from_config(config.model).to(dtype).train()
    towers = TrainedTowers(model, captions=config.data.captions)
    world = World(torch.device("cpu"))
    return model, TrainingStep(model, towers, Objective(config.loss), config, world)


def _batches(pairs: int, micro: int, dtype: torch.dtype) -> list[Batch]:
    torch.manual_seed(1)
    cls, patch = (torch.randn(pairs, _WIDTH, dtype=dtype) for _ in range(2))
    ids = torch.randint(1, 49_000, (pairs, _LONGEST))
    lengths = torch.randint(_SHORTEST, _LONGEST, (pairs,))
    parts = (torch.split(part, micro) for part in (cls, patch.unsqueeze(1), ids, lengths))
    return [
        Batch(_pooled(one, other), token_ids, length)
        for one, other, token_ids, length in zip(*parts, strict=True)
    ]


def _pooled(cls: Tensor, patches: Tensor) -> Tokens:
    return Tokens(cls, patches[:, :0], patches, (1, 1))


if __name__ == "__main__":
    main("gradient_cache", measure)
