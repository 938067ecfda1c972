"""Engines: order, one thread, worker deaths."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dinotxt.curation.engine import InProcess, LocalPool, RayTasks, open_engine
from dinotxt.errors import BackendError, DataError


def _square(number: int) -> int:
    return number * number


def _threads(_: int) -> tuple[int, str | None]:
    import torch

    return torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")


def _die_once(path: str) -> str:
    if not Path(path).exists():
        Path(path).touch()
        os._exit(9)
    return path


def _die(_: int) -> None:
    os._exit(9)


def _fail(_: int) -> None:
    raise DataError("a bad shard")


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_items(workers: int) -> None:
    with open_engine("local", workers) as engine:
        assert list(engine.map(_square, range(9))) == [n * n for n in range(9)]


def test_a_task_runs_on_one_thread_and_leaves_the_process_as_it_was() -> None:
    import torch

    threads, variable = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    assert list(InProcess().map(_threads, [0])) == [(1, "1")]
    assert torch.get_num_threads() == threads
    assert os.environ.get("OMP_NUM_THREADS") == variable


def test_a_task_whose_process_died_is_done_again(tmp_path: Path) -> None:
    pool = LocalPool(2)
    paths = [str(tmp_path / "a"), str(tmp_path / "b")]
    try:
        assert list(pool.map(_die_once, paths)) == paths
    finally:
        pool.close()


def test_a_task_that_always_kills_its_process_is_given_up() -> None:
    pool = LocalPool(1)
    try:
        with pytest.raises(BackendError, match="fewer `workers`"):
            list(pool.map(_die, [0]))
    finally:
        pool.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_reaches_the_caller(workers: int) -> None:
    with open_engine("local", workers) as engine, pytest.raises(DataError, match="bad shard"):
        list(engine.map(_fail, [0]))


_OOM_RETRIES = "RAY_task_oom_retries"


class _RayError(Exception):
    """Ray's base class of failures, in a cluster that is none."""


class _OutOfMemoryError(_RayError):
    pass


class _FakeRay:
    """As much of Ray as a task needs that its memory monitor kills at each attempt."""

    exceptions = SimpleNamespace(
        RayTaskError=ZeroDivisionError, RayError=_RayError, OutOfMemoryError=_OutOfMemoryError
    )

    def remote(self, **options: Any) -> Any:
        assert options["max_retries"] == 3
        return lambda _: SimpleNamespace(remote=lambda *_: "task")

    def put(self, value: Any) -> Any:
        return value

    def get(self, task: Any) -> Any:
        raise _OutOfMemoryError(f"{task} was killed")


def test_a_ray_task_without_memory_ends_with_what_to_do() -> None:
    with pytest.raises(BackendError, match=r"memory 4 times .* fewer `workers`"):
        list(RayTasks(_FakeRay(), 1).map(_square, [0]))


def test_ray_is_told_how_often_a_task_may_run_out_of_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(_OOM_RETRIES, raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BackendError, match=r"dinotxt\[ray\]"), open_engine("ray", 1):
        pass
    assert os.environ[_OOM_RETRIES] == "3"  # before it is imported, when it reads it
    monkeypatch.delenv(_OOM_RETRIES)
