from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dinotxt.data.pictures.image import ImageSource
from dinotxt.errors import BackendError, ConfigError, DataError
from dinotxt.inference.encoder import Encoder, load
from dinotxt.results.skip import Skip

RED = np.array([1, 0, 0, 1, 0, 0], dtype=np.float32) / np.sqrt(2)


def test_every_kind_of_source_gives_the_same_features(
    colour_encoder: Encoder, pictures: dict[str, Path]
) -> None:
    array = np.zeros((20, 30, 3), dtype=np.uint8)
    array[..., 0] = 255
    path = pictures["red"]
    sources: list[ImageSource] = [
        path,
        str(path),
        path.read_bytes(),
        Image.fromarray(array),
        array,
    ]
    features = colour_encoder.encode_image(sources)
    np.testing.assert_allclose(features, np.tile(RED, (5, 1)), rtol=1e-6)


def test_a_single_source_gives_one_row(colour_encoder: Encoder, pictures: dict[str, Path]) -> None:
    assert colour_encoder.encode_image(pictures["red"]).shape == (1, 6)
    assert colour_encoder.encode_image(str(pictures["red"])).shape == (1, 6)
    assert colour_encoder.encode_image(np.zeros((8, 8, 3), dtype=np.uint8)).shape == (1, 6)
    assert colour_encoder.encode_text("red").shape == (1, 6)


def test_nothing_in_gives_no_rows_out(colour_encoder: Encoder) -> None:
    assert colour_encoder.encode_image([]).shape == (0, 6)
    assert colour_encoder.encode_text([]).shape == (0, 6)


def test_features_keep_their_length_when_asked_to(
    colour_encoder: Encoder, pictures: dict[str, Path]
) -> None:
    features = colour_encoder.encode_image([pictures["red"]], normalize=False)
    assert np.linalg.norm(features) == pytest.approx(np.sqrt(2))


def test_images_are_encoded_in_batches_with_progress(
    colour_encoder: Encoder, colour_towers: Any, pictures: dict[str, Path]
) -> None:
    seen: list[tuple[int, int]] = []
    colour_encoder.encode_image(
        [pictures["red"]] * 5, batch_size=2, progress=lambda *report: seen.append(report)
    )
    assert [shape[0] for shape in colour_towers.batches] == [2, 2, 1]
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_a_bad_picture_raises_an_error_that_names_it(
    colour_encoder: Encoder, pictures: dict[str, Path]
) -> None:
    with pytest.raises(DataError, match=r"missing\.jpg"):
        colour_encoder.encode_image([pictures["red"], "missing.jpg"])


def test_a_stream_reports_bad_pictures_and_goes_on(
    colour_encoder: Encoder, pictures: dict[str, Path]
) -> None:
    skipped: list[Skip] = []
    sources: list[ImageSource] = [pictures["red"], "missing.jpg", pictures["blue"]]
    batches = list(colour_encoder.stream_images(sources, on_skip=skipped.append))
    assert [batch.indices.tolist() for batch in batches] == [[0, 2]]
    assert [skip.path for skip in skipped] == ["missing.jpg"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_picture_without_finite_features_is_reported_not_ranked(
    colour_encoder: Encoder,
    colour_towers: Any,
    pictures: dict[str, Path],
    value: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encode = colour_towers.encode_image

    def damaged(pixels: np.ndarray) -> np.ndarray:
        features = np.array(encode(pixels))
        features[-1, 0] = value
        return features

    monkeypatch.setattr(colour_towers, "encode_image", damaged)
    skips: list[Skip] = []
    sources = [pictures["half"], pictures["half"], pictures["half"]]
    found = list(colour_encoder.stream_images(sources, batch_size=2, on_skip=skips.append))
    assert [batch.indices.tolist() for batch in found] == [[0]]
    assert [skip.path for skip in skips] == [str(pictures["half"])] * 2
    assert "not finite" in skips[0].reason
    with pytest.raises(DataError, match="not finite"):
        colour_encoder.encode_image(sources)


def test_texts_without_finite_features_are_an_error(
    colour_encoder: Encoder, colour_towers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = np.full((1, colour_encoder.embed_dim), np.nan, dtype=np.float32)
    monkeypatch.setattr(colour_towers, "encode_text", lambda _: damaged)
    with pytest.raises(DataError, match="not finite"):
        colour_encoder.encode_text("red")


def test_what_is_no_text_is_an_error(colour_encoder: Encoder) -> None:
    things: Any = ["red", 3]
    with pytest.raises(DataError, match="3 is not a text: give strings, not int"):
        colour_encoder.encode_text(things)
    with pytest.raises(DataError, match="3 is not a text"):
        colour_encoder.encode_labels(things)


def test_texts_keep_their_order_and_repeated_ones_are_encoded_once(
    colour_encoder: Encoder, colour_towers: Any
) -> None:
    texts = ["a very long text about red", "blue", "red", "blue"]
    features = colour_encoder.encode_text(texts, batch_size=2)
    assert colour_towers.num_texts == 3
    np.testing.assert_array_equal(features[1], features[3])
    np.testing.assert_allclose(features[2], RED, rtol=1e-6)
    assert features[0].argmax() in {0, 3}


def test_a_caption_of_ten_thousand_words_is_cut(colour_encoder: Encoder) -> None:
    features = colour_encoder.encode_text(["red " + "blue " * 10_000])
    assert np.isfinite(features).all()


def test_a_label_is_the_normalised_mean_of_its_normalised_prompts(
    colour_encoder: Encoder,
) -> None:
    prompts = colour_encoder.encode_text(["red red thing", "green red"])
    expected = prompts.mean(axis=0)
    expected /= np.linalg.norm(expected)
    result = colour_encoder.encode_labels(["red"], ["red {} thing", "green {}"])
    np.testing.assert_allclose(result.features[0], expected, rtol=1e-5)


def test_synonyms_are_averaged(colour_encoder: Encoder) -> None:
    known = colour_encoder.encode_labels(["red | blue"], ["{}"])
    np.testing.assert_allclose(known.features[0], np.array([1, 0, 1, 1, 0, 1]) / 2, rtol=1e-5)


def test_label_embeddings_are_kept_on_disk(colour_encoder: Encoder, colour_towers: Any) -> None:
    first = colour_encoder.encode_labels(["red", "blue"], "simple")
    count = colour_towers.num_texts
    second = colour_encoder.encode_labels(["red", "blue"], "simple")
    assert colour_towers.num_texts == count > 0
    np.testing.assert_array_equal(first.features, second.features)


def test_ten_thousand_labels_are_encoded_in_parts_with_progress(colour_encoder: Encoder) -> None:
    labels = [f"red {index}" for index in range(10_000)]
    seen: list[tuple[int, int]] = []
    known = colour_encoder.encode_labels(
        labels, "simple", progress=lambda *report: seen.append(report)
    )
    assert known.features.shape == (10_000, 6)
    assert seen[-1] == (10_000, 10_000)
    assert len(seen) > 10_000 / 300
    assert seen == sorted(seen)


def test_labels_embedded_before_a_kill_are_not_embedded_again(
    colour_encoder: Encoder, colour_towers: Any
) -> None:
    labels = [f"red {index}" for index in range(400)]
    patterns = [f"{number} {{}}" for number in range(80)]

    def killed(done: int, total: int) -> None:
        if done > 250:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        colour_encoder.encode_labels(labels, patterns, progress=killed)
    first, colour_towers.num_texts = colour_towers.num_texts, 0
    known = colour_encoder.encode_labels(labels, patterns)
    assert first < 400 * 80
    assert colour_towers.num_texts == (400 - 204) * 80  # four parts of 51 labels were whole
    again = colour_encoder.encode_labels(labels, patterns)
    np.testing.assert_array_equal(known.features, again.features)


@pytest.mark.parametrize("labels", [[], [""], ["cat", "  "], ["cat | "]])
def test_empty_labels_are_an_error(colour_encoder: Encoder, labels: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"empty|no labels"):
        colour_encoder.encode_labels(labels)


def test_a_bare_string_is_no_list_of_labels(colour_encoder: Encoder) -> None:
    with pytest.raises(ConfigError, match="list"):
        colour_encoder.encode_labels("cat")


def test_patches_cover_the_whole_picture_at_its_aspect(
    colour_encoder: Encoder, pictures: dict[str, Path]
) -> None:
    patches = colour_encoder.encode_patches(pictures["half"], size=40)
    assert patches.shape == (5, 6, 3)
    assert patches[:, :2].argmax(axis=-1).max() == 0
    assert patches[:, 4:].argmax(axis=-1).min() == 2
    assert colour_encoder.encode_patches(pictures["half"]).shape == (4, 5, 3)


def test_dense_text_compares_with_patches(
    colour_encoder: Encoder, pictures: dict[str, Path]
) -> None:
    text = colour_encoder.dense_text(colour_encoder.encode_text(["red", "blue"]))
    patches = colour_encoder.encode_patches(pictures["red"])
    np.testing.assert_allclose((patches @ text.T)[..., 0], 1, rtol=1e-5)
    np.testing.assert_allclose((patches @ text.T)[..., 1], 0, atol=1e-5)


@pytest.mark.parametrize("device", ["tpu", "cuda:x", "cpu:0:1", "cuda:99", ""])
def test_an_unknown_device_is_an_error_before_anything_is_loaded(device: str) -> None:
    with pytest.raises(BackendError, match="give auto"):
        load("no-such-model", device=device)


def test_texts_and_kept_labels_report_progress(colour_encoder: Encoder) -> None:
    seen: list[tuple[int, int]] = []
    colour_encoder.encode_text(
        ["red", "blue", "green"], batch_size=2, progress=lambda *report: seen.append(report)
    )
    assert seen == [(2, 3), (3, 3)]
    for _ in range(2):
        seen.clear()
        colour_encoder.encode_labels(
            ["red", "blue"], "simple", progress=lambda *report: seen.append(report)
        )
        assert seen == [(2, 2)]
