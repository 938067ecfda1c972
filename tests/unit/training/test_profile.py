import gzip
import json
import time
from pathlib import Path

import pytest

from dinotxt.training.profile import PHASES, StepProfiler, end_step, phase


def steps(count: int) -> None:
    for _ in range(count):
        with phase("data wait"):
            time.sleep(0.002)
        with phase("backward"):
            time.sleep(0.004)
        end_step()


def test_without_a_profiler_phases_do_nothing() -> None:
    steps(2)


def test_phases_are_timed_after_the_warm_up_and_a_trace_is_written(tmp_path: Path) -> None:
    profiler = StepProfiler(tmp_path / "profile", 3)
    with profiler.active():
        steps(6)
    rows = {row.phase: row for row in profiler.table()}
    assert profiler.steps_done == 3
    assert tuple(rows) == PHASES
    assert rows["backward"].milliseconds >= 4
    assert rows["data wait"].milliseconds >= 2
    assert rows["loss"].milliseconds == 0
    assert sum(row.share for row in rows.values()) == pytest.approx(1)
    content = json.loads((tmp_path / "profile" / "phases.json").read_text())
    assert content["steps"] == 3
    with gzip.open(tmp_path / "profile" / "trace.json.gz") as stream:
        trace = json.load(stream)
    named = [event for event in trace["traceEvents"] if event.get("name") == "backward"]
    assert len(named) >= 3
    assert [path.name for path in sorted((tmp_path / "profile").iterdir())] == [
        "phases.json",
        "trace.json.gz",
    ]


def test_a_run_that_ends_early_gives_what_there_is(tmp_path: Path) -> None:
    profiler = StepProfiler(tmp_path, 100)
    with profiler.active():
        steps(3)
    assert profiler.steps_done == 2
    assert (tmp_path / "trace.json.gz").exists()


def test_a_run_of_one_step_gives_nothing(tmp_path: Path) -> None:
    profiler = StepProfiler(tmp_path, 2)
    with profiler.active():
        steps(1)
    assert profiler.table() == []
    assert list(tmp_path.iterdir()) == []
