import tracemalloc
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image

from dinotxt.data.pictures.channels import ChannelMapping
from dinotxt.data.pictures.image import ImageSource
from dinotxt.data.pictures.transform import Transform, TransformConfig
from dinotxt.errors import ConfigError, DataError
from dinotxt.inference.dense.scores import Mode
from dinotxt.inference.encoder import Encoder
from dinotxt.inference.segmenter import HighRes, Segmenter, SlidingWindow, Whole
from dinotxt.results.skip import Skip

LABELS = ["red", "green", "blue"]


@pytest.mark.parametrize("mode", [None, SlidingWindow(32, 16)])
@pytest.mark.parametrize("upsample", ["logits", "features"])
def test_each_half_gets_its_label(
    colour_encoder: Encoder,
    pictures: dict[str, Path],
    mode: SlidingWindow | None,
    upsample: Literal["logits", "features"],
) -> None:
    segment = Segmenter(colour_encoder, LABELS, mode=mode, templates="{}", upsample=upsample)
    result = segment(pictures["half"])
    assert result.label_map.shape == (40, 48)
    assert (result.label_map[:, :20] == 0).all()
    assert (result.label_map[:, 28:] == 2).all()
    assert result.area("red") == pytest.approx(0.5, abs=0.05)
    assert result.overlay(pictures["half"], legend=False).size == (48, 40)


def test_pixels_below_the_threshold_stay_unlabelled(
    colour_encoder: Encoder, pictures: dict[str, Path]
) -> None:
    segment = Segmenter(colour_encoder, ["red", "green"], templates="{}", background=0.5)
    result = segment(pictures["half"])
    assert (result.label_map[:, :20] == 0).all()
    assert (result.label_map[:, 28:] == result.unlabelled).all()


def test_soft_masks_say_how_well_each_label_fits_by_itself(
    colour_encoder: Encoder, pictures: dict[str, Path]
) -> None:
    segment = Segmenter(colour_encoder, ["red", "red red"], templates="{}", soft=True)
    result = segment(pictures["half"])
    for label in ("red", "red red"):
        mask = result.mask(label)
        assert mask.shape == (40, 48)
        assert mask[:, :12].min() > 0.9
        assert mask[:, 36:].max() < 0.1
    assert result.label_map.max() == 0


def test_a_large_picture_is_labelled_in_tiles_with_the_same_result(
    colour_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8)
    segment = Segmenter(colour_encoder, LABELS, mode=SlidingWindow(32, 16), templates="{}")
    whole = segment(noise).label_map
    monkeypatch.setattr("dinotxt.inference.segmenter.tile_rows", lambda *_: 7)
    assert np.array_equal(segment(noise).label_map, whole)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (400, 5)])
def test_tiny_and_long_pictures_get_a_label_map_of_their_size(
    colour_encoder: Encoder, size: tuple[int, int]
) -> None:
    result = Segmenter(colour_encoder, LABELS, templates="{}")(Image.new("RGB", size, "red"))
    assert result.label_map.shape == size[::-1]
    assert result.area("red") == 1


def test_more_than_255_labels_make_a_16_bit_map(
    colour_encoder: Encoder, pictures: dict[str, Path]
) -> None:
    labels = [f"green {index}" for index in range(299)] + ["red"]
    result = Segmenter(colour_encoder, labels, templates="{}")(pictures["red"])
    assert result.label_map.dtype == np.uint16
    assert (result.label_map == 299).all()


def test_bad_pictures_are_reported_and_the_others_done(
    colour_encoder: Encoder, pictures: dict[str, Path]
) -> None:
    skipped: list[Skip] = []
    segment = Segmenter(colour_encoder, LABELS, templates="{}")
    sources: list[ImageSource] = ["missing.png", pictures["red"]]
    results = list(segment.segment_many(sources, on_skip=skipped.append))
    assert [position for position, _ in results] == [1]
    assert [skip.path for skip in skipped] == ["missing.png"]
    with pytest.raises(DataError, match="missing"):
        list(segment.segment_many(sources))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"background": 2.0}, "background"),
        ({"upsample": "nearest"}, "upsample"),
        ({"mode": "window"}, "SlidingWindow"),
        ({"labels": ["red", "red"]}, "twice"),
        ({"labels": []}, "no labels"),
    ],
)
def test_wrong_options_are_refused(
    colour_encoder: Encoder, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Segmenter(colour_encoder, options.pop("labels", LABELS), templates="{}", **options)


@pytest.mark.parametrize("channels", [3, 5])
def test_pictures_of_mapped_channels_can_be_drawn_on(
    colour_encoder: Encoder, channels: int
) -> None:
    mapping = ChannelMapping(channels=(0, 1, 2), low=0, high=65535)
    config = TransformConfig(size=32, mean=(0, 0, 0), std=(1, 1, 1), mapping=mapping)
    encoder = Encoder(colour_encoder.towers, colour_encoder.tokenizer, Transform(config))
    picture = np.zeros((40, 48, channels), dtype=np.uint16)
    picture[..., 2] = 65535
    result = Segmenter(encoder, LABELS, templates="{}")(picture)
    assert result.area("blue") == 1
    overlay = np.asarray(result.overlay(picture, opacity=0, legend=False))
    assert overlay[20, 20].tolist() == [0, 0, 255]


@pytest.mark.parametrize("mode", [None, SlidingWindow(32, 16), HighRes(crops=8, crop_size=16)])
def test_refined_regions_follow_the_colours(
    colour_encoder: Encoder, pictures: dict[str, Path], mode: Mode | None
) -> None:
    segment = Segmenter(colour_encoder, LABELS, mode=mode, templates="{}", refine="pamr", soft=True)
    result = segment(pictures["half"])
    assert (result.label_map[:, :24] == 0).all()
    assert (result.label_map[:, 24:] == 2).all()
    assert result.scores is not None
    assert result.scores.shape == (3, 40, 48)


def test_only_a_mode_with_clusters_gives_clusters(
    colour_encoder: Encoder, pictures: dict[str, Path]
) -> None:
    mode = HighRes(crops=8, crop_size=16, num_clusters=4)
    clusters = Segmenter(colour_encoder, LABELS, mode=mode, templates="{}")(
        pictures["half"]
    ).clusters
    assert clusters is not None
    assert clusters.shape == (20, 24)
    assert Segmenter(colour_encoder, LABELS, templates="{}")(pictures["half"]).clusters is None


def test_an_unknown_refinement_is_refused(colour_encoder: Encoder) -> None:
    wrong: Any = "crf"
    with pytest.raises(ConfigError, match="give affinity, pamr, both"):
        Segmenter(colour_encoder, LABELS, templates="{}", refine=wrong)


@pytest.mark.parametrize("mode", [None, SlidingWindow(32, 16), HighRes(crops=8, crop_size=16)])
def test_features_that_are_not_numbers_are_an_error_and_no_label(
    colour_encoder: Encoder,
    colour_towers: Any,
    pictures: dict[str, Path],
    mode: Mode | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encode = colour_towers.encode_patches

    def damaged(pixels: np.ndarray) -> np.ndarray:
        patches = encode(pixels)
        patches[0, 0, 0, 0] = np.nan
        return np.asarray(patches)

    monkeypatch.setattr(colour_towers, "encode_patches", damaged)
    segment = Segmenter(colour_encoder, LABELS, mode=mode, templates="{}")
    with pytest.raises(DataError, match="not finite"):
        segment(pictures["half"])


@pytest.mark.parametrize("mode", [SlidingWindow(32, 16), HighRes(crops=8, crop_size=16)])
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (60, 2)])
def test_pictures_smaller_than_a_patch_are_labelled_in_every_mode(
    colour_encoder: Encoder, mode: Mode, size: tuple[int, int]
) -> None:
    segment = Segmenter(colour_encoder, LABELS, mode=mode, templates="{}", refine="pamr")
    result = segment(Image.new("RGB", size, "red"))
    assert result.label_map.shape == size[::-1]
    assert result.area("red") == 1


@pytest.mark.slow
@pytest.mark.parametrize("mode", [None, SlidingWindow(32, 16), HighRes(crops=50, crop_size=16)])
def test_thirty_megapixels_are_labelled_in_bounded_memory(
    colour_encoder: Encoder, mode: Mode | None
) -> None:
    picture = Image.new("RGB", (6000, 5000), "red")
    picture.paste("blue", (0, 0, 3000, 5000))
    labels = [*LABELS, *(f"green {index}" for index in range(17))]
    segment = Segmenter(colour_encoder, labels, mode=mode, templates="{}")
    segment(Image.new("RGB", (8, 8)))
    tracemalloc.start()
    try:
        result = segment(picture)
        overlay = result.overlay(picture)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert result.area("blue") == pytest.approx(0.5, abs=0.05)
    assert overlay.width == 6000
    assert peak < 1 << 30  # a map of 20 cosines a pixel would be 2.4 GB


@pytest.mark.parametrize("mode", [Whole(7), SlidingWindow(7, 3), HighRes(crops=8, crop_size=7)])
def test_inputs_of_one_patch_would_label_every_pixel_alike(
    colour_encoder: Encoder, mode: Mode
) -> None:
    with pytest.raises(ConfigError, match=r"size is 7, .* of 8 pixels: give at least 16"):
        Segmenter(colour_encoder, LABELS, mode=mode)


def test_a_result_draws_over_the_picture_that_was_decoded_for_it(
    colour_encoder: Encoder, pictures: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[object] = []
    original = Transform.open

    def counted(self: Transform, source: ImageSource, **options: Any) -> Any:
        opened.append(source)
        return original(self, source, **options)

    monkeypatch.setattr(Transform, "open", counted)
    result = Segmenter(colour_encoder, LABELS, templates="{}")(pictures["half"])
    drawn = result.overlay()
    assert opened == [pictures["half"]]
    assert drawn.tobytes() == result.overlay(pictures["half"]).tobytes()
    assert result.decode(None).tobytes() == result.decode(pictures["half"]).tobytes()
    with pytest.raises(DataError, match="48x40"):
        result.overlay(Image.new("RGB", (8, 8)))


def test_a_turned_picture_that_is_handed_on_is_not_turned_again(
    colour_encoder: Encoder, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    pixels = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    segment = Segmenter(colour_encoder, LABELS, templates="{}")
    first = segment(tmp_path / "turned.png")
    second = segment(first.decode(None))
    assert first.label_map.shape == (24, 16)
    assert np.array_equal(first.label_map, second.label_map)
    assert first.decode(None).tobytes() == second.decode(None).tobytes()
