"""Stop at the end of a step on SIGTERM or Ctrl-C, so that a checkpoint can be written."""

import signal
import threading
from types import FrameType, TracebackType


class StopRequest:
    """A context in which the first SIGTERM or SIGINT only sets ``name``.

    A second signal acts as usual. Outside the main thread nothing is installed.

    Attributes:
        name: The signal that came, or None.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        self.name = signal.Signals(number).name
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before.clear()
