from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dinotxt.errors import ConfigError
from dinotxt.evaluation import evaluate
from dinotxt.inference.encoder import Encoder

MakeMasks = Callable[..., Path]


class _StoppedError(Exception):
    """Stands for a killed run."""


def _stop_after(num: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        del total
        if done >= num:
            raise _StoppedError

    return progress


def _num_pictures(encoder: Encoder) -> int:
    return sum(shape[0] for shape in encoder.towers.batches)  # type: ignore[attr-defined]


@pytest.mark.parametrize("task", ["classification", "retrieval"])
def test_a_stopped_run_goes_on_where_it_was_and_ends_with_the_same_figures(
    colour_encoder: Encoder, class_folders: Path, pairs: Path, tmp_path: Path, task: Any
) -> None:
    data, num = (class_folders, 6) if task == "classification" else (pairs, 3)
    options: dict[str, Any] = {"task": task, "data": data, "batch_size": 2, "num_workers": 0}
    expected = evaluate(colour_encoder, **options)
    options["resume"] = tmp_path / "kept"
    with pytest.raises(_StoppedError):
        evaluate(colour_encoder, progress=_stop_after(2), **options)
    before = _num_pictures(colour_encoder)
    report = evaluate(colour_encoder, **options)
    assert _num_pictures(colour_encoder) - before == num - 2
    assert report.metrics == expected.metrics
    assert report.ci == expected.ci


def test_other_prompts_cost_no_second_pass_over_the_pictures(
    colour_encoder: Encoder, class_folders: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"task": "classification", "data": class_folders}
    evaluate(colour_encoder, resume=tmp_path / "kept", **options)
    before = _num_pictures(colour_encoder)
    report = evaluate(colour_encoder, resume=tmp_path / "kept", templates="a {}", **options)
    assert _num_pictures(colour_encoder) == before
    assert report.n == 6


def test_other_pictures_need_another_folder(
    colour_encoder: Encoder, class_folders: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"task": "classification", "data": class_folders}
    evaluate(colour_encoder, resume=tmp_path / "kept", **options)
    with pytest.raises(ConfigError, match="holds another evaluation"):
        evaluate(colour_encoder, resume=tmp_path / "kept", limit=2, **options)


def test_a_stopped_segmentation_goes_on(
    colour_encoder: Encoder, make_masks: MakeMasks, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"task": "segmentation", "data": make_masks(4), "num_workers": 0}
    expected = evaluate(colour_encoder, **options)
    options["resume"] = tmp_path / "kept"
    with pytest.raises(_StoppedError):
        evaluate(colour_encoder, progress=_stop_after(3), **options)
    before = _num_pictures(colour_encoder)
    report = evaluate(colour_encoder, **options)
    assert _num_pictures(colour_encoder) - before == 1
    assert report.metrics["miou"] == expected.metrics["miou"]
    assert report.ci == expected.ci
    with pytest.raises(ConfigError, match="templates: "):
        evaluate(colour_encoder, templates="a {}", **options)
