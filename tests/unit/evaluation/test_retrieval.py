from pathlib import Path

import pytest

from dinotxt.errors import ConfigError, DataError
from dinotxt.evaluation import evaluate
from dinotxt.inference.encoder import Encoder
from dinotxt.results.skip import Skip

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


def test_every_and_limit_take_a_part(colour_encoder: Encoder, pairs: Path) -> None:
    assert evaluate(colour_encoder, task="retrieval", data=pairs, limit=2).n == 2


def test_class_names_have_no_meaning_here(colour_encoder: Encoder, pairs: Path) -> None:
    with pytest.raises(ConfigError, match="leave classes and templates out"):
        evaluate(colour_encoder, task="retrieval", data=pairs, classes="imagenet")


def test_half_a_pair_is_named(colour_encoder: Encoder, pairs: Path) -> None:
    (pairs / "red.json").unlink()
    with pytest.raises(DataError, match="red"):
        evaluate(colour_encoder, task="retrieval", data=pairs)
