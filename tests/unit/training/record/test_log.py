import importlib
import json
from pathlib import Path

from dinotxt.training.record.log import MetricsLog, StepRecord, TensorBoardLog


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
