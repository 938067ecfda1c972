"""Label features as a value: made once, by any averaging, and handed to every predictor."""

from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dinotxt.errors import ConfigError
from dinotxt.inference.classifier import ZeroShotClassifier
from dinotxt.inference.encoder import Encoder
from dinotxt.inference.features import Averaging, LabelFeatures, group_means, unit
from dinotxt.inference.segmenter import Segmenter

LABELS = ["red | green", "blue"]
PATTERNS = ["{}", "{} {}", "a {}"]


@pytest.fixture
def _no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder that cannot be made: its parent is a file."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DINOTXT_CACHE", str(tmp_path / "file" / "cache"))


def test_group_means_are_those_of_each_group() -> None:
    rows = np.array([[3, 0], [0, 4], [1, 1]], dtype=np.float32)
    expected = [np.array([0.6, 0.8]), np.array([1, 1]) / np.sqrt(2)]
    np.testing.assert_allclose(group_means(rows, [2, 1]), expected, rtol=1e-6)
    np.testing.assert_allclose(unit(np.zeros((1, 2), np.float32)), [[0, 0]])


@pytest.mark.parametrize(
    ("average", "scale"),
    [
        ("unit", lambda row: np.linalg.norm(row)),
        ("plain", lambda _: 1),
        ("patch", lambda row: np.linalg.norm(row[3:])),
    ],
)
def test_prompts_are_scaled_as_asked_before_their_mean(
    colour_encoder: Encoder, average: Averaging, scale: Callable[[Any], float]
) -> None:
    known = colour_encoder.encode_labels(LABELS, PATTERNS, average=average)
    assert known.labels == tuple(LABELS)
    for label, found in zip(LABELS, known.features, strict=True):
        names = label.split(" | ")
        prompts = [pattern.replace("{}", name) for name in names for pattern in PATTERNS]
        rows = colour_encoder.encode_text(prompts, normalize=False)
        mean = np.mean([row / scale(row) for row in rows], axis=0)
        np.testing.assert_allclose(found, mean / np.linalg.norm(mean), rtol=1e-5)


def test_an_unknown_averaging_is_an_error(colour_encoder: Encoder) -> None:
    wrong: Any = "median"
    with pytest.raises(ConfigError, match="unit, plain, patch"):
        colour_encoder.encode_labels(LABELS, average=wrong)


def test_predictors_made_of_features_say_what_those_made_of_labels_say(
    colour_encoder: Encoder, pictures: dict[str, Path]
) -> None:
    known = colour_encoder.encode_labels(LABELS, PATTERNS)
    classified = [
        ZeroShotClassifier(colour_encoder, given, templates=PATTERNS)(pictures["half"])
        for given in (LABELS, known)
    ]
    assert classified[0] == classified[1]
    segmented = [
        Segmenter(colour_encoder, given, templates=PATTERNS)(pictures["half"])
        for given in (LABELS, known)
    ]
    np.testing.assert_array_equal(segmented[0].label_map, segmented[1].label_map)
    assert segmented[0].labels == segmented[1].labels == tuple(LABELS)


def test_classified_features_are_those_of_the_picture(
    colour_encoder: Encoder, pictures: dict[str, Path]
) -> None:
    classify = ZeroShotClassifier(colour_encoder, LABELS, templates="{}")
    features = colour_encoder.encode_image([pictures["red"], pictures["blue"]])
    found = classify.classify_features(features, ["first", "second"])
    assert [one.image for one in found] == ["first", "second"]
    assert found[1].labels == classify(pictures["blue"]).labels


@pytest.mark.usefixtures("_no_cache")
def test_without_a_cache_a_label_set_is_encoded_once(
    colour_encoder: Encoder, colour_towers: Any, pictures: dict[str, Path]
) -> None:
    patterns = [f"{number} {{}}" for number in range(80)]
    known = colour_encoder.encode_labels(["red", "blue", "green"], patterns)
    ZeroShotClassifier(colour_encoder, known)(pictures["red"])
    Segmenter(colour_encoder, known)(pictures["red"])
    assert colour_towers.num_texts == 3 * 80


def test_label_features_need_one_row_a_label_and_a_model_of_their_width(
    colour_encoder: Encoder,
) -> None:
    rows = np.ones((2, 6), dtype=np.float32)
    for labels, features in (((), rows[:0]), (("a",), rows), (("a", "b"), rows[0])):
        with pytest.raises(ConfigError, match="one row a label"):
            LabelFeatures(labels, features)
    other = LabelFeatures(("a", "b"), rows[:, :5])
    with pytest.raises(ConfigError, match=r"5 numbers, those of this model 6: encode"):
        Segmenter(colour_encoder, other)
    with pytest.raises(ConfigError, match="5 numbers"):
        ZeroShotClassifier(colour_encoder, other)
    with pytest.raises(ConfigError, match="twice"):
        Segmenter(colour_encoder, LabelFeatures(("a", "a"), rows))


def test_an_encoder_is_a_value(colour_encoder: Encoder) -> None:
    other = replace(colour_encoder, name="other")
    assert (other.name, other.towers) == ("other", colour_encoder.towers)
    with pytest.raises(FrozenInstanceError):
        colour_encoder.name = "changed"  # type: ignore[misc]
