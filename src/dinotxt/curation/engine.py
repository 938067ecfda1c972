"""Where stages run: processes on this machine, or tasks of a Ray cluster.

Both give results in the order of the items and run each task on one thread, so that the bytes do
not depend on the engine, the number of workers or the machine. Tasks exchange paths and small
arrays; the output folder must be visible to all workers.
"""

import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from typing import Any, Literal, Protocol

from dinotxt.errors import BackendError, import_extra

EngineKind = Literal["local", "ray"]

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_AHEAD = 2  # tasks in flight a worker
_MAX_CRASHES = 3


class Engine(Protocol):
    """Apply a function to items in other processes."""

    def map(self, function: Callable[[Any], Any], items: Iterable[Any], /) -> Iterator[Any]:
        """Yield ``function(item)`` in the order of the items."""


@contextmanager
def open_engine(kind: EngineKind, workers: int, address: str | None = None) -> Iterator[Engine]:
    """Start an engine and stop what it started.

    Args:
        kind: ``local`` or ``ray``.
        workers: Tasks at once. One local worker runs in this process.
        address: For Ray: of a running cluster, ``auto`` to find one; None starts one here.

    Raises:
        BackendError: If Ray is wanted and not installed or not reachable.
    """
    if kind == "ray":
        with _ray(workers, address) as ray_engine:
            yield ray_engine
    elif workers == 1:
        yield InProcess()
    else:
        local = LocalPool(workers)
        try:
            yield local
        finally:
            local.close()


class InProcess:
    """One worker: this process, held to one thread while a task runs."""

    def map(self, function: Callable[[Any], Any], items: Iterable[Any], /) -> Iterator[Any]:
        """Yield ``function(item)`` in order."""
        for item in items:
            yield run_on_one_thread(function, item)


class LocalPool:
    """A pool of processes; a task whose process died is done again in a new one."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def map(self, function: Callable[[Any], Any], items: Iterable[Any], /) -> Iterator[Any]:
        """Yield ``function(item)`` in order.

        Raises:
            BackendError: If workers die again and again, as they do where memory runs out.
        """
        iterator = iter(items)
        waiting: deque[tuple[Any, Future[Any]]] = deque()
        crashes = 0
        while True:
            for item in islice(iterator, self._workers * _AHEAD - len(waiting)):
                waiting.append((item, self._submit(function, item)))
            if not waiting:
                return
            try:
                result = waiting[0][1].result()
            except BrokenProcessPool:
                crashes += 1
                if crashes > _MAX_CRASHES:
                    message = "Worker processes die again and again: set fewer `workers`."
                    raise BackendError(message) from None
                self.close()
                again = [item for item, _ in waiting]
                waiting = deque((item, self._submit(function, item)) for item in again)
                continue
            waiting.popleft()
            yield result

    def close(self) -> None:
        """Stop the processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def _submit(self, function: Callable[[Any], Any], item: Any) -> Future[Any]:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._workers, mp_context=context)
        with _one_thread_variables():  # processes start at the first submission
            return self._pool.submit(run_on_one_thread, function, item)


class RayTasks:
    """Tasks of a Ray cluster, done again where a node is lost."""

    def __init__(self, ray: Any, workers: int) -> None:
        self._ray = ray
        self._workers = workers
        self._task = ray.remote(num_cpus=1, max_retries=_MAX_CRASHES)(run_on_one_thread)

    def map(self, function: Callable[[Any], Any], items: Iterable[Any], /) -> Iterator[Any]:
        """Yield ``function(item)`` in order; what the function carries travels once a node.

        Raises:
            BackendError: If the cluster loses a task again and again, or has no memory for it.
        """
        shared = self._ray.put(function)
        iterator = iter(items)
        waiting = deque(
            self._task.remote(shared, item) for item in islice(iterator, self._workers * _AHEAD)
        )
        while waiting:
            try:
                result = self._ray.get(waiting.popleft())
            except self._ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except self._ray.exceptions.OutOfMemoryError:
                raise BackendError(
                    f"A task ran out of memory {_MAX_CRASHES + 1} times on the Ray cluster: set "
                    "fewer `workers`, or give its nodes more memory."
                ) from None
            except self._ray.exceptions.RayError as error:
                raise BackendError(f"The Ray cluster lost a task for good: {error}") from None
            waiting.extend(self._task.remote(shared, item) for item in islice(iterator, 1))
            yield result


@contextmanager
def _ray(workers: int, address: str | None) -> Iterator[RayTasks]:
    # Ray reads it when it is imported; without it a task that runs out of memory never ends.
    os.environ.setdefault("RAY_task_oom_retries", str(_MAX_CRASHES))
    ray = import_extra("ray", extra="ray")
    started = not ray.is_initialized()
    if started:
        local = {} if address else {"num_cpus": workers, "include_dashboard": False}
        try:
            ray.init(address=address or "local", log_to_driver=False, **local)
        except (ConnectionError, ray.exceptions.RayError) as error:
            message = f"No Ray cluster answers at {address}: run `ray start --head` ({error})."
            raise BackendError(message) from None
    try:
        yield RayTasks(ray, workers)
    finally:
        if started:
            ray.shutdown()


def run_on_one_thread(function: Callable[[Any], Any], item: Any) -> Any:
    """Call ``function(item)`` with torch and the BLAS held to one thread."""
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else len(os.sched_getaffinity(0))
    if torch:
        torch.set_num_threads(1)
    try:
        with _one_thread_variables():
            return function(item)
    finally:
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(threads)


@contextmanager
def _one_thread_variables() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
