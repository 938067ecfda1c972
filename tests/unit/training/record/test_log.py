import importlib
import json
from pathlib import Path

import pytest

from dinotxt.errors import DataError
from dinotxt.results.skip import Skip
from dinotxt.training.record.log import MetricsLog, Quarantine, StepRecord, TensorBoardLog


def record(step: int) -> StepRecord:
    return StepRecord(step=step, loss=step / 2, lr=0.1, logit_scale=14.0)


def steps_in(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_a_resumed_log_drops_the_lines_after_its_checkpoint(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.started(0, 5, 2)
    log.stepped([record(1), record(2)])
    log.evaluated(2, {"text_to_image_recall@1": 0.5})
    log.stepped([record(3)])
    log.started(2, 5, 2)
    log.stepped([record(3)])
    log.closed()
    assert steps_in(log.path) == [1, 2, 2, 3]


def test_a_torn_last_line_is_dropped(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.started(0, 5, 2)
    log.stepped([record(1)])
    with log.path.open("a") as stream:
        stream.write('{"step": 2, "lo')
    log.started(2, 5, 2)
    log.stepped([record(3)])
    assert steps_in(log.path) == [1, 3]


def test_tensorboard_receives_the_same_numbers(tmp_path: Path) -> None:
    assert TensorBoardLog.available()
    name = "tensorboard.backend.event_processing.event_accumulator"
    accumulator = importlib.import_module(name).EventAccumulator

    log = TensorBoardLog(tmp_path)
    log.started(0, 5, 2)
    log.stepped([record(1), record(2)])
    log.evaluated(2, {"text_to_image_recall@1": 0.5})
    log.closed()
    events = accumulator(str(tmp_path))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(1, 0.5), (2, 1.0)]
    assert events.Scalars("validation/text_to_image_recall@1")[0].value == 0.5


def test_each_pair_is_written_once_also_after_a_restart(tmp_path: Path) -> None:
    path, heard = tmp_path / "skipped.jsonl", list[Skip]()
    for _ in range(2):
        quarantine = Quarantine(path, heard.append)
        for name in ("a.jpg", "b.jpg", "a.jpg"):
            quarantine.add(Skip(name, "torn"))
    assert [skip.path for skip in heard] == ["a.jpg", "b.jpg"]
    assert [json.loads(line)["path"] for line in path.read_text().splitlines()] == [
        "a.jpg",
        "b.jpg",
    ]


def test_a_loss_is_told_once_by_the_callback_or_else_by_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heard = list[Skip]()
    Quarantine(tmp_path / "a.jsonl", heard.append).add(Skip("a.jpg", "torn"))
    assert (heard, caplog.messages) == ([Skip("a.jpg", "torn")], [])
    Quarantine(tmp_path / "b.jsonl").add(Skip("b.jpg", "torn"))
    assert caplog.messages == ["left out b.jpg: torn"]


def test_too_many_lost_pairs_stop_the_run(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path / "skipped.jsonl")
    quarantine.add(Skip("a.jpg", "torn"))
    quarantine.check(10, 0.0)
    quarantine.add(Skip("b.jpg", "torn"))
    quarantine.check(10, 0.2)
    with pytest.raises(DataError, match=r"2 of 10 pairs .* data\.max_skipped \(0\.1\)"):
        quarantine.check(10, 0.1)
    again = Quarantine(tmp_path / "skipped.jsonl")
    again.check(10, 0.1)  # they may be mended by now
    again.add(Skip("a.jpg", "torn"))
    again.add(Skip("b.jpg", "torn"))
    with pytest.raises(DataError, match="2 of 10 pairs"):
        again.check(10, 0.1)
