from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dinotxt.errors import ConfigError, DataError
from dinotxt.evaluation import evaluate
from dinotxt.evaluation.ledger import Ledger, fingerprint, missing
from dinotxt.inference.encoder import Encoder


def test_rows_come_back_piece_by_piece(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    ledger = Ledger(folder, {"model": "a"})
    ledger.add(np.array([2, 0]), np.array([[1.0, 2], [3, 4]], np.float32))
    ledger.save()
    again = Ledger(folder, {"model": "a"})
    again.add(np.array([1]), np.array([[5.0, 6]], np.float32))
    again.save()
    found = {
        int(position): row.tolist()
        for positions, rows in Ledger(folder, {"model": "a"}).rows()
        for position, row in zip(positions, rows, strict=True)
    }
    assert found == {0: [3, 4], 1: [5, 6], 2: [1, 2]}


def test_without_a_folder_nothing_is_kept() -> None:
    ledger = Ledger(None, {})
    ledger.add(np.array([0]), np.zeros((1, 2)))
    ledger.save()
    assert list(ledger.rows()) == []


def test_another_evaluation_is_refused_and_what_differs_is_named(tmp_path: Path) -> None:
    Ledger(tmp_path / "kept", {"model": "a", "size": (1, 2)})
    Ledger(tmp_path / "kept", {"model": "a", "size": (1, 2)})
    with pytest.raises(ConfigError, match="model: a -> b"):
        Ledger(tmp_path / "kept", {"model": "b", "size": (1, 2)})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "holiday.jpg").touch()
    with pytest.raises(ConfigError, match="not empty"):
        Ledger(tmp_path / "other", {})


def test_a_damaged_piece_is_named(tmp_path: Path) -> None:
    Ledger(tmp_path, {})
    (tmp_path / "piece-000000.npz").write_bytes(b"PK damaged")
    with pytest.raises(DataError, match=r"piece-000000\.npz is damaged .* delete it"):
        list(Ledger(tmp_path, {}).rows())


def test_many_bytes_are_written_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dinotxt.evaluation.ledger._BYTES", 64)
    ledger = Ledger(tmp_path, {})
    ledger.add(np.arange(1), np.zeros((1, 8), np.float32))
    assert not list(tmp_path.glob("piece-*.npz"))
    ledger.add(np.arange(1), np.zeros((1, 8), np.float32))
    assert len(list(tmp_path.glob("piece-*.npz"))) == 1


def test_the_fingerprint_tells_lists_apart() -> None:
    assert fingerprint(["ab", "c"]) != fingerprint(["a", "bc"])
    assert fingerprint(iter(["a"])) == fingerprint(["a"])
    assert missing([True, False, True]).tolist() == [1]


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
