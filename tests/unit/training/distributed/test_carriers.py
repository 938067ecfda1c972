"""Buckets that become means: by messages and in shared memory, to the same bits."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dinotxt.training.distributed import carriers
from dinotxt.training.distributed.carriers import BETWEEN, Carrier, Messages, SharedMemory, carrier
from dinotxt.training.distributed.world import World, joined

Together = Callable[[int, Callable[[int], Any]], list[Any]]
CPU = torch.device("cpu")
SIZES = (1, 2, 5, 64, 1003)
STEPS = 3
pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


def buckets(rank: int, step: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(100 * rank + step)
    return [torch.randn(size, generator=generator) for size in SIZES]


def num_bytes() -> int:
    return sum(4 * size + BETWEEN for size in SIZES)


def averaged(chosen: Carrier, world: World) -> list[list[Tensor]]:
    steps = []
    for step in range(STEPS):
        own = buckets(world.rank, step)
        for number, values in enumerate(own):
            chosen.send(number, values)
        chosen.finish()
        world.any(False)  # as the loss of the next step
        steps.append(own)
    return steps


def means(count: int) -> list[list[Tensor]]:
    steps = []
    for step in range(STEPS):
        of_ranks = zip(*(buckets(rank, step) for rank in range(count)), strict=True)
        steps.append([_in_order(parts) / count for parts in of_ranks])
    return steps


def _in_order(parts: Sequence[Tensor]) -> Tensor:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


@pytest.mark.parametrize("count", [2, 4])
def test_both_carriers_give_the_mean_in_the_order_of_processes(
    together: Together, count: int
) -> None:
    def work(rank: int) -> Any:
        with joined(CPU) as world:
            shared = carrier(world, num_bytes())
            return type(shared), averaged(shared, world), averaged(Messages(world), world)

    for kind, *results in together(count, work):
        assert kind is SharedMemory
        for result in results:
            torch.testing.assert_close(result, means(count), rtol=0, atol=0)


def test_the_shared_file_has_no_name_left(
    together: Together, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carriers, "_MEMORY", tmp_path)

    def work(rank: int) -> Any:
        with joined(CPU) as world:
            kind = type(carrier(world, num_bytes()))
            world.any(False)  # the first one has taken the name away
            return kind, list(tmp_path.glob("dinotxt-*"))

    assert together(2, work) == [(SharedMemory, [])] * 2


@pytest.mark.parametrize("hurt", ["no room", "another machine"])
def test_messages_where_memory_is_not_in_common(
    together: Together, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hurt: str
) -> None:
    monkeypatch.setattr(carriers, "_MEMORY", tmp_path)

    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    def work(rank: int) -> Any:
        if hurt == "no room":
            monkeypatch.setattr(os, "posix_fallocate", full)
        elif rank == 1:
            monkeypatch.setattr(carriers, "_map", lambda _: None)
        with joined(CPU) as world:
            chosen = carrier(world, num_bytes())
            return type(chosen), averaged(chosen, world), list(tmp_path.glob("dinotxt-*"))

    for kind, result, left in together(2, work):
        assert (kind, left) == (Messages, [])
        torch.testing.assert_close(result, means(2), rtol=0, atol=0)


def test_one_process_needs_no_memory() -> None:
    assert type(carrier(World(CPU), 8)) is Messages
