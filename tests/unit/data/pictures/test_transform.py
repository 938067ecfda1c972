import dataclasses
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from dinotxt.data.pictures.channels import ChannelMapping
from dinotxt.data.pictures.transform import Transform, TransformConfig
from dinotxt.errors import ConfigError, DataError

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def _noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("size", [(640, 480), (480, 641), (224, 224), (100, 333), (300, 299)])
def test_default_equals_resize_crop_and_normalise_written_out(size: tuple[int, int]) -> None:
    image = _noise(*size)
    short = min(size)
    width, height = (256 if side == short else int(256 * side / short) for side in size)
    resized = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
    left, top = round((width - 224) / 2), round((height - 224) / 2)
    crop = resized[top : top + 224, left : left + 224] / 255.0
    expected = ((crop - MEAN) / STD).transpose(2, 0, 1)
    found = Transform()(image)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.slow
def test_default_equals_torchvision() -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    image = _noise(317, 211)
    steps = [
        transforms.Resize(256, interpolation=transforms.InterpolationMode.BICUBIC),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ]
    expected = transforms.Compose(steps)(image).numpy()
    np.testing.assert_allclose(Transform()(image), expected, atol=2e-6)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (9000, 1), (3, 2)])
@pytest.mark.parametrize("resize", ["crop", "squash"])
def test_tiny_and_very_long_pictures_give_the_same_shape(
    size: tuple[int, int], resize: str
) -> None:
    config = TransformConfig(size=32, resize=resize)  # type: ignore[arg-type]
    found = Transform(config)(Image.new("RGB", size, (124, 116, 104)))
    assert found.shape == (3, 32, 32)
    assert np.abs(found).max() < 0.02


def test_squash_resizes_both_sides_and_none_keeps_the_size() -> None:
    image = _noise(50, 20)
    squash = Transform(TransformConfig(size=28, resize="squash"))
    assert squash(image).shape == (3, 28, 28)
    none = Transform(TransformConfig(resize="none"))
    np.testing.assert_allclose(
        none(image), ((np.asarray(image) / 255 - MEAN) / STD).transpose(2, 0, 1), atol=2e-6
    )


def test_fingerprint_follows_every_field() -> None:
    base = TransformConfig()
    others = [
        {"size": 448},
        {"resize": "squash"},
        {"crop_ratio": 1.0},
        {"mean": (0.5, 0.5, 0.5)},
        {"std": (0.5, 0.5, 0.5)},
        {"interpolation": "bilinear"},
        {"mapping": ChannelMapping()},
        {"max_enlarge": 5.0},
    ]
    prints = {dataclasses.replace(base, **other).fingerprint for other in others}  # type: ignore[arg-type]
    assert len(prints | {base.fingerprint}) == len(dataclasses.fields(base)) + 1
    assert Transform().fingerprint == TransformConfig().fingerprint


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": 0}, "size: .*greater than 0"),
        ({"crop_ratio": 0.5}, "crop_ratio: .*greater than or equal to 1"),
        ({"max_enlarge": 0.5}, "max_enlarge: .*greater than or equal to 1"),
        ({"std": (1.0, 0.0, 1.0)}, r"std\.1: .*greater than 0"),
        ({"mean": (0.0,)}, "one positive deviation a channel"),
    ],
)
def test_senseless_configs_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TransformConfig(**fields)  # type: ignore[arg-type]


def test_channel_count_without_mapping_is_three() -> None:
    with pytest.raises(ConfigError, match="three channels"):
        TransformConfig(mean=(0.0,), std=(1.0,))


def test_mapping_makes_any_channel_count_and_sixteen_bits() -> None:
    config = TransformConfig(
        size=16,
        mean=(0.5,) * 5,
        std=(0.5,) * 5,
        mapping=ChannelMapping(low=0, high=4000),
    )
    array = np.full((20, 30, 5), 3000, dtype=np.uint16)
    array[..., 4] = 65535
    found = Transform(config).load(array)
    assert found.shape == (5, 16, 16)
    np.testing.assert_allclose(found[:, 8, 8], [0.5, 0.5, 0.5, 0.5, 1.0], atol=1e-6)


def test_grey_of_sixteen_bits_reaches_a_three_channel_backbone() -> None:
    mapping = ChannelMapping(channels=(0, 0, 0), low=0, high=65535)
    found = Transform(TransformConfig(size=8, mapping=mapping)).load(
        np.full((9, 9), 65535, np.uint16)
    )
    np.testing.assert_allclose(found[:, 0, 0], (1 - MEAN) / STD, rtol=1e-5)


def test_wrong_channel_count_names_the_mapping() -> None:
    transform = Transform(TransformConfig(mapping=ChannelMapping()))
    with pytest.raises(DataError, match="has 5 channels"):
        transform.load(np.zeros((9, 9, 5), np.uint8))


def test_load_opens_and_transforms() -> None:
    image = _noise(30, 30)
    np.testing.assert_array_equal(Transform().load(np.asarray(image)), Transform()(image))


@pytest.mark.parametrize("resize", ["squash", "crop"])
def test_small_pictures_are_enlarged_no_more_than_asked(resize: Literal["squash", "crop"]) -> None:
    transform = Transform(TransformConfig(resize=resize, size=224, max_enlarge=5.0))
    assert transform(Image.new("RGB", (32, 40))).shape == (3, 160, 160)
    assert transform(Image.new("RGB", (60, 50))).shape == (3, 224, 224)
    assert transform(Image.new("RGB", (1, 1))).shape == (3, 64, 64)


def test_a_limit_that_would_shrink_is_refused() -> None:
    with pytest.raises(ConfigError, match="max_enlarge"):
        TransformConfig(max_enlarge=0.5)
