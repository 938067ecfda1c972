from typing import Any

import numpy as np

from dinotxt.evaluation.analysis.vocabulary import encode_words, near_words
from dinotxt.inference.encoder import Encoder


def test_only_words_near_the_name_are_offered_those_nearest_to_the_region_first() -> None:
    words = ("street", "lane", "whale", "alley")
    name, region = np.array([[1, 0, 0]], np.float32), np.array([[0, 1, 0]], np.float32)
    text = np.array([[0.9, 0.1, 0.4], [0.8, 0.6, 0], [0, 1, 0], [0.7, 0.3, 0.6]], np.float32)
    (found,) = near_words(words, text, region, name, 3)
    assert [word for word, _ in found] == ["lane", "alley", "street"]
    np.testing.assert_allclose([cosine for _, cosine in found], [0.6, 0.3, 0.1], atol=1e-6)


def test_a_short_vocabulary_is_offered_whole() -> None:
    axis = np.eye(2, dtype=np.float32)[:1]
    (found,) = near_words(("a",), axis, axis, axis, 20)
    assert found == [("a", 1.0)]


def test_words_are_embedded_once_and_kept_apart_from_labels(
    colour_encoder: Encoder, colour_towers: Any
) -> None:
    words = ["red", "blue"]
    colour_encoder.encode_labels(words, "simple")
    first = encode_words(colour_encoder, words)
    count = colour_towers.num_texts
    seen: list[tuple[int, int]] = []
    again = encode_words(colour_encoder, words, progress=lambda *report: seen.append(report))
    assert (colour_towers.num_texts, seen) == (count, [(2, 2)])
    np.testing.assert_array_equal(again, first)
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, rtol=1e-6)
    assert first.shape == (2, colour_encoder.towers.patch_dim)
