import numpy as np

from dinotxt.evaluation.analysis.vocabulary import near_words


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
