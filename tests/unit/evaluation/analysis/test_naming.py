from typing import Any

import numpy as np
import pytest

from dinotxt.evaluation.analysis.naming import (
    Candidates,
    Cells,
    encode_words,
    near_words,
    search_names,
)
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


_AXES = np.eye(4, dtype=np.float32)
_CELLS = Cells(_AXES[[0, 0, 1, 1, 2]].astype(np.float16), np.array([0, 0, 1, 1, 2]), 3)


def test_the_mean_iou_of_places_is_that_of_the_classes_that_occur() -> None:
    assert _CELLS.miou(np.array([0, 0, 1, 1, 2])) == 1
    assert _CELLS.miou(np.array([0, 0, 0, 1, 2])) == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)


def test_words_join_names_while_the_mean_iou_grows() -> None:
    names, text = ("x", "b", "c"), _AXES[[3, 1, 2]].copy()
    text[1, 0] = 0.5  # so b takes the places of x
    offered = {0: Candidates(("far", "a"), _AXES[[3, 0]]), 1: Candidates(("b2",), _AXES[[3]])}
    found, history = search_names(_CELLS, names, text, offered)
    assert found == ("x | a", "b", "c")
    assert history[0] < history[1] == history[-1] == 1


def test_a_name_gets_as_many_words_as_help_and_counts_those_that_it_has() -> None:
    axes = np.eye(6, dtype=np.float32)
    places = [0, 0, 0, 1, 2, 3, 4, 4] * 10  # of class 0 there is one kind of place a word
    cells = Cells(axes[places].astype(np.float16), np.array([0, 0, 0, 0, 0, 0, 1, 1] * 10), 2)
    rival = axes[4] + 0.2 * axes[:4].sum(axis=0)
    text = np.stack([axes[5], rival])
    offered = {0: Candidates(("p", "q", "r", "s"), axes[:4])}
    found, history = search_names(cells, ("x", "y"), text, offered)
    assert len(found[0].split(" | ")) == 4  # its own and three
    assert found[0].startswith("x | p | ")
    assert history == sorted(set(history))
    heavy, _ = search_names(cells, ("x | x2 | x3 | x4 | x5 | x6", "y"), text, offered)
    assert heavy == ("x | x2 | x3 | x4 | x5 | x6", "y")  # one of seven words moves them too little


def test_a_word_that_helps_one_block_of_pictures_alone_is_not_taken() -> None:
    places = np.array([[1, 0, 0, 0], [0, 1, 0, 0]] * 10, dtype=np.float16)
    places[0] = [0, 0, 1, 0]  # of class 0, in the first block
    cells = Cells(places, np.array([0, 1] * 10), 2)
    text = _AXES[[0, 1]] + 0.1 * _AXES[[3, 2]]  # so the odd place goes to class 1
    offered = {0: Candidates(("odd",), _AXES[[0]] + _AXES[[2]])}
    assert cells.miou(cells.scores(_AXES[[0]] + _AXES[[2]]).argmax(axis=0)) < 1
    found, history = search_names(cells, ("a", "b"), text, offered)
    assert found == ("a", "b")
    assert history[0] == history[-1] < 1


def test_no_two_classes_get_the_same_name() -> None:
    names, text = ("x", "x | a", "c"), _AXES[[3, 1, 2]].copy()
    text[1, 0] = 0.5
    found, _ = search_names(_CELLS, names, text, {0: Candidates(("a",), _AXES[[0]])})
    assert found == names
