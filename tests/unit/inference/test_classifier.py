from pathlib import Path

import numpy as np
import pytest

from dinotxt.errors import DataError
from dinotxt.inference.classifier import ZeroShotClassifier
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
        [pictures["blue"], "missing.png", pictures["red"]],
        on_skip=skipped.append,
        progress=lambda *report: seen.append(report),
    )
    assert [result.labels[0].label for result in results] == ["blue", "red"]
    assert [skip.path for skip in skipped] == ["missing.png"]
    assert seen[-1] == (3, 3)


def test_a_bad_picture_raises(colour_encoder: Encoder) -> None:
    classify = ZeroShotClassifier(colour_encoder, ["red"], templates="{}")
    with pytest.raises(DataError, match=r"missing\.png"):
        classify("missing.png")
