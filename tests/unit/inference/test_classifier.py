from pathlib import Path

import numpy as np
import pytest

from dinotxt.errors import DataError
from dinotxt.inference.classifier import ZeroShotClassifier
from dinotxt.inference.defaults import InferenceDefaults
from dinotxt.inference.encoder import Encoder
from dinotxt.results.skip import Skip


def test_the_best_label_comes_first_with_its_probability(
    colour_encoder: Encoder, pictures: dict[str, Path]
) -> None:
    classify = ZeroShotClassifier(colour_encoder, ["red", "green", "blue"], templates="{}")
    result = classify(pictures["blue"])
    assert result.image == str(pictures["blue"])
    assert result.labels[0].label == "blue"
    assert result.labels[0].similarity == pytest.approx(1, abs=1e-5)
    expected = 1 / (1 + 2 * np.exp(-20))
    assert result.labels[0].probability == pytest.approx(expected, abs=1e-5)
    assert sum(label.probability for label in result.labels) == pytest.approx(1)
    assert [label for label, _ in result.top(2)] == ["blue", "red"]


def test_many_pictures_come_in_order_and_bad_ones_are_reported(
    colour_encoder: Encoder, pictures: dict[str, Path]
) -> None:
    classify = ZeroShotClassifier(colour_encoder, ["red", "blue"], templates="{}", batch_size=1)
    skipped: list[Skip] = []
    seen: list[tuple[int, int]] = []
    results = classify.classify_many(
        [pictures["blue"], "missing.png", pictures["red"], "last.png"],
        on_skip=skipped.append,
        progress=lambda *report: seen.append(report),
    )
    assert [result.labels[0].label for result in results] == ["blue", "red"]
    assert [skip.path for skip in skipped] == ["missing.png", "last.png"]
    assert seen[-1] == (4, 4)


def test_a_bad_picture_raises(colour_encoder: Encoder) -> None:
    classify = ZeroShotClassifier(colour_encoder, ["red"], templates="{}")
    with pytest.raises(DataError, match=r"missing\.png"):
        classify("missing.png")


def test_a_model_may_say_that_its_cls_half_classifies(
    colour_encoder: Encoder, pictures: dict[str, Path]
) -> None:
    encoder = Encoder(
        colour_encoder.towers,
        colour_encoder.tokenizer,
        colour_encoder.transform,
        defaults=InferenceDefaults(classify="cls"),
    )
    features = np.array([[3.0, 4.0, 0.0, 9.0, 9.0, 9.0]], dtype=np.float32)
    np.testing.assert_allclose(encoder.classified_part(features), [[0.6, 0.8, 0.0]])
    assert colour_encoder.classified_part(features) is features
    labels = ["red", "green", "blue"]
    whole = ZeroShotClassifier(colour_encoder, labels, templates="{}")(pictures["blue"])
    half = ZeroShotClassifier(encoder, labels, templates="{}")(pictures["blue"])
    assert half.labels[0].label == whole.labels[0].label == "blue"
    assert half.labels[0].similarity == pytest.approx(1, abs=1e-5)
