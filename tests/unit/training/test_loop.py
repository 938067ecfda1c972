import os
import signal
import threading

import pytest

from dinotxt.training.loop import StopRequest


def test_the_first_signal_is_heard_and_the_second_acts_as_usual() -> None:
    with StopRequest() as stop:
        assert stop.name is None
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.name == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_sigterm_may_come_twice() -> None:
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.name == "SIGTERM"


def test_the_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_outside_the_main_thread_nothing_is_installed() -> None:
    before, names = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        with StopRequest() as stop:
            names.append((stop.name, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert names == [(None, before)]
