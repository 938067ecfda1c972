"""The same random numbers for every test, and real processes that talk over gloo."""

import pickle
import traceback
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

Together = Callable[[int, Callable[[int], Any]], list[Any]]
_SECONDS = 300

# PyTorch's autograd starts its threads at the first backward pass and then refuses to work in
# forks; where no test has drawn in another device yet, it starts none.
torch.ones(1, requires_grad=True).sum().backward()  # type: ignore[no-untyped-call]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def together(tmp_path: Path) -> Together:
    """Call a function with its rank in so many forked processes; return what each gives."""
    calls = iter(range(100))

    def run(count: int, function: Callable[[int], Any]) -> list[Any]:
        folder = tmp_path / f"processes-{next(calls)}"
        folder.mkdir()
        context = get_context("fork")
        children = [
            context.Process(target=_child, args=(function, rank, count, folder))
            for rank in range(count)
        ]
        for child in children:
            child.start()
        for child in children:
            child.join(_SECONDS)
            child.kill()
        outcomes = [pickle.loads((folder / f"{rank}").read_bytes()) for rank in range(count)]
        for _, error in outcomes:
            assert error is None, error
        return [result for result, _ in outcomes]

    return run


def _child(function: Callable[[int], Any], rank: int, count: int, folder: Path) -> None:
    outcome: tuple[Any, str | None] = None, None
    torch.set_num_threads(1)
    try:
        store = f"file://{folder}/store"
        dist.init_process_group("gloo", init_method=store, rank=rank, world_size=count)
        outcome = function(rank), None
        dist.barrier()
    except BaseException:
        outcome = None, traceback.format_exc()
    (folder / f"{rank}").write_bytes(pickle.dumps(outcome))
