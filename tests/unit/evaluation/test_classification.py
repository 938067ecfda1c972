import json
from pathlib import Path

import pytest

from dinotxt.errors import DataError
from dinotxt.evaluation import evaluate
from dinotxt.inference.encoder import Encoder
from dinotxt.results.skip import Skip


def test_accuracy_counts_the_right_pictures(colour_encoder: Encoder, class_folders: Path) -> None:
    report = evaluate(colour_encoder, task="classification", data=class_folders)
    assert report.n == 6
    assert report.metrics == {"top1": pytest.approx(5 / 6), "top5": 1.0}
    low, high = report.ci["top1"]
    assert 0.3 < low < 5 / 6 < high <= 1


def test_the_report_states_what_was_used(colour_encoder: Encoder, class_folders: Path) -> None:
    report = evaluate(
        colour_encoder, task="classification", data=class_folders, templates="a {}", size=16
    )
    assert report.protocol["templates"] == ["a {}"]
    assert report.protocol["size"] == 16
    assert report.protocol["classes"] == "data"
    assert report.protocol["num_classes"] == 3
    assert report.protocol["fingerprint"] == "colours"
    assert report.model == "colours"
    json.dumps(report.to_dict(), allow_nan=False)


def test_pictures_are_read_once_whatever_the_number_of_prompts(
    colour_encoder: Encoder, class_folders: Path
) -> None:
    evaluate(colour_encoder, task="classification", data=class_folders, templates="openai-80")
    towers = colour_encoder.towers
    assert sum(shape[0] for shape in towers.batches) == 6  # type: ignore[attr-defined]


def test_every_and_limit_take_a_part(colour_encoder: Encoder, class_folders: Path) -> None:
    report = evaluate(colour_encoder, task="classification", data=class_folders, every=2, limit=2)
    assert report.n == 2
    assert report.protocol["every"] == 2


def test_more_classes_than_the_data_have_are_competitors(
    colour_encoder: Encoder, class_folders: Path
) -> None:
    report = evaluate(
        colour_encoder,
        task="classification",
        data=class_folders,
        classes=["grey", "blue", "green", "red"],
    )
    assert report.metrics["top1"] == pytest.approx(5 / 6)
    assert report.protocol["num_classes"] == 4


def test_a_broken_picture_is_named_counted_and_left_out(
    colour_encoder: Encoder, class_folders: Path
) -> None:
    (class_folders / "red" / "3.jpg").write_bytes(b"broken")
    skipped: list[Skip] = []
    report = evaluate(
        colour_encoder, task="classification", data=class_folders, on_skip=skipped.append
    )
    assert report.n == 6
    assert report.protocol["skipped"] == 1
    assert skipped[0].path.endswith("red/3.jpg")
    with pytest.raises(DataError, match=r"3\.jpg"):
        evaluate(colour_encoder, task="classification", data=class_folders)


def test_a_set_without_a_usable_picture_is_an_error(
    colour_encoder: Encoder, tmp_path: Path
) -> None:
    (tmp_path / "set" / "red").mkdir(parents=True)
    (tmp_path / "set" / "red" / "1.png").write_bytes(b"broken")
    with pytest.raises(DataError, match="no picture that can be evaluated"):
        evaluate(
            colour_encoder, task="classification", data=tmp_path / "set", on_skip=lambda _: None
        )


def test_progress_reaches_the_end(colour_encoder: Encoder, class_folders: Path) -> None:
    seen: list[tuple[int, int]] = []
    evaluate(
        colour_encoder,
        task="classification",
        data=class_folders,
        batch_size=4,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(4, 6), (6, 6)]
