"""What processes tell each other, and a process that is alone."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist

from dinotxt.errors import BackendError, DataError
from dinotxt.training.distributed.world import joined

Together = Callable[[int, Callable[[int], Any]], list[Any]]
CPU = torch.device("cpu")
pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


def test_processes_tell_each_other(together: Together) -> None:
    def work(rank: int) -> list[Any]:
        with joined(CPU) as world:
            told = [
                world.counts(rank + 5),
                world.any(rank == 1),
                world.any(False),
                world.gather(f"from {rank}"),
                world.collect([rank] * rank),
                world.collect([]),
                world.first(lambda: f"by {rank}"),
                world.twin().counts(rank),
            ]

            def fail() -> None:
                raise DataError(f"{rank} fails")

            with pytest.raises(DataError, match="0 fails"):
                world.first(fail)
            return told

    expected = [[5, 6, 7], True, False, ["from 0", "from 1", "from 2"], [1, 2, 2], [], "by 0"]
    assert together(3, work) == [[*expected, [0, 1, 2]]] * 3


@pytest.mark.parametrize("launch", [{}, {"RANK": "0", "WORLD_SIZE": "1", "MASTER_PORT": "1"}])
def test_one_process_is_alone_and_asks_nobody(
    monkeypatch: pytest.MonkeyPatch, launch: dict[str, str]
) -> None:
    for name, value in launch.items():
        monkeypatch.setenv(name, value)
        monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with joined(CPU) as world:
        assert (world.size, world.is_first, world.group) == (1, True, None)
        assert not dist.is_initialized()
    assert world.twin() is world
    assert world.counts(3) == [3]
    assert world.collect(["a"]) == ["a"]
    with pytest.raises(DataError):
        world.first(lambda: next(_raising()))


def test_a_device_of_one_process_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "0")
    with pytest.raises(BackendError, match="mps cannot be shared"), joined(torch.device("mps")):
        pass


def _raising() -> Iterator[None]:
    raise DataError("no")
    yield
