import json
from collections.abc import Callable

from dinotxt.checkpoints.format import load_model
from dinotxt.training.config import TrainConfig
from dinotxt.training.trainer import Trainer

Make = Callable[..., TrainConfig]


def test_a_run_leaves_a_model_checkpoints_and_metrics(config: Make) -> None:
    run = Trainer(config()).fit()
    assert (run.steps, run.last.step) == (6, 6)
    assert set(run.last.metrics) >= {"text_to_image_recall@1", "image_to_text_recall@10"}
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 3, 4, 5, 6, 6]
    assert run.best.path == run.path / "model"
    loaded = load_model(run.best.path)
    assert loaded.extra["step"] == run.best.step
