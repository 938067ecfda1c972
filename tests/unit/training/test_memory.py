"""Memory that a step has freed serves the next one."""

import platform
import resource

import pytest
import torch

from dinotxt.training.memory import keep_freed_memory

_FLOATS = 5 << 20  # 20 MiB


def faults_of_steps(count: int) -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(count):
        torch.zeros(_FLOATS).add_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone")
def test_freed_memory_is_used_again() -> None:
    keep_freed_memory(torch.device("cpu"))
    pages = 4 * _FLOATS // resource.getpagesize()
    faults_of_steps(2)
    assert faults_of_steps(20) < 4 * pages  # 20 times as many where each step asks anew


def test_another_device_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dinotxt.training.memory.ctypes.CDLL", None)  # would fail if called
    keep_freed_memory(torch.device("meta"))
