"""What is freed stays with the process; each test asks a process of its own."""

import platform
import subprocess
import sys

import pytest

_COUNT_FAULTS = """
import resource, sys
import numpy as np
from dinotxt.inference.loading import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()
before = 0
for number in range(11):
    np.ones(8 << 20)  # 64 MiB, beyond what malloc keeps by itself
    if number == 0:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_large_blocks_are_used_again_and_not_asked_of_the_system_each_time() -> None:
    faults = {}
    for choice in ("keep", "default"):
        command = [sys.executable, "-c", _COUNT_FAULTS, choice]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        faults[choice] = int(done.stdout)
    assert faults["keep"] < 100
    assert faults["keep"] < faults["default"]


def test_without_glibc_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    from dinotxt.inference.loading import keep_freed_memory

    monkeypatch.setattr("dinotxt.inference.loading.sys.platform", "darwin")
    assert not keep_freed_memory()
