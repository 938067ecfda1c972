import json
from pathlib import Path

import pytest

from dinotxt.errors import ConfigError, DataError
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
    for name in ("red", "green"):
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / "1.png").write_bytes(b"broken")
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


NAMES = {f"{way}_recall@{k}" for way in ("text_to_image", "image_to_text") for k in (1, 5, 10)}


def test_recall_is_one_when_every_caption_finds_its_picture(
    colour_encoder: Encoder, pairs: Path
) -> None:
    report = evaluate(colour_encoder, task="retrieval", data=pairs)
    assert report.n == 3
    assert report.metrics == dict.fromkeys(NAMES, 1.0)
    assert set(report.ci) == NAMES
    assert report.ci["text_to_image_recall@1"] == (1.0, 1.0)
    assert report.protocol["num_captions"] == 4


def test_all_captions_count(colour_encoder: Encoder, pairs: Path) -> None:
    (pairs / "blue.json").write_text('{"captions": ["blue", "a green thing"]}')
    report = evaluate(colour_encoder, task="retrieval", data=pairs)
    assert report.metrics["text_to_image_recall@1"] == pytest.approx(4 / 5)
    assert report.metrics["image_to_text_recall@1"] == 1.0
    low, high = report.ci["text_to_image_recall@1"]
    assert low < 4 / 5 < high


def test_a_skipped_picture_takes_its_captions_along(colour_encoder: Encoder, pairs: Path) -> None:
    (pairs / "red.png").write_bytes(b"broken")
    skipped: list[Skip] = []
    report = evaluate(colour_encoder, task="retrieval", data=pairs, on_skip=skipped.append)
    assert report.n == 2
    assert report.protocol["num_captions"] == 2
    assert report.metrics["text_to_image_recall@1"] == 1.0
    assert len(skipped) == report.protocol["skipped"] == 1


def test_retrieval_takes_the_part_that_limit_says(colour_encoder: Encoder, pairs: Path) -> None:
    assert evaluate(colour_encoder, task="retrieval", data=pairs, limit=2).n == 2


def test_class_names_have_no_meaning_here(colour_encoder: Encoder, pairs: Path) -> None:
    with pytest.raises(ConfigError, match="leave classes and templates out"):
        evaluate(colour_encoder, task="retrieval", data=pairs, classes="imagenet")


def test_half_a_pair_is_named(colour_encoder: Encoder, pairs: Path) -> None:
    (pairs / "red.json").unlink()
    with pytest.raises(DataError, match="red"):
        evaluate(colour_encoder, task="retrieval", data=pairs)
