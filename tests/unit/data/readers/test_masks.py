import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from dinotxt.data.readers.masks import LabelValues, read_mask, read_masks
from dinotxt.data.readers.record import ImageRef
from dinotxt.errors import DataError
from dinotxt.results.skip import Skip


def _folder(root: Path, images: list[str], labels: list[str], classes: str = "sky\nroad\n") -> None:
    for kind, names in (("images", images), ("labels", labels)):
        (root / kind).mkdir()
        for name in names:
            path = root / kind / name
            path.parent.mkdir(exist_ok=True)
            Image.new("L", (4, 3), 1).save(path)
    (root / "classes.txt").write_text(classes)


def test_pairs_are_made_by_stem_and_lone_files_reported(tmp_path: Path) -> None:
    _folder(
        tmp_path, ["b.jpg", "a.png", "x/c.jpg", "lone.jpg"], ["a.png", "b.tif", "x/c.png", "d.png"]
    )
    skips: list[Skip] = []
    found = read_masks(tmp_path, on_skip=skips.append)
    assert [item.key for item in found.items] == ["a", "b", "x/c"]
    assert found.class_names == ("sky", "road")
    assert read_mask(found.items[1].mask, 2, size=found.items[1].image.open().size).shape == (3, 4)
    assert [skip.reason for skip in skips] == [
        "half a pair: it has no picture",
        "half a pair: it has no label map",
    ]
    with pytest.raises(DataError, match="half a pair"):
        read_masks(tmp_path)


def test_two_files_of_one_stem_are_reported(tmp_path: Path) -> None:
    _folder(tmp_path, ["a.jpg", "a.png"], ["a.png"])
    skips: list[Skip] = []
    assert len(read_masks(tmp_path, on_skip=skips.append).items) == 1
    assert skips[0].reason == "a.jpg has the same stem"


@pytest.mark.parametrize("missing", ["images", "labels", "classes.txt"])
def test_missing_part_of_the_folder_is_named(tmp_path: Path, missing: str) -> None:
    _folder(tmp_path, [], [])
    path = tmp_path / missing
    path.unlink() if path.is_file() else path.rmdir()
    with pytest.raises(DataError, match=f"has no {missing}"):
        read_masks(tmp_path)


@pytest.mark.parametrize("classes", ["", "sky\n\nroad\n"])
def test_empty_class_names_are_refused(tmp_path: Path, classes: str) -> None:
    _folder(tmp_path, ["a.jpg"], ["a.png"], classes)
    with pytest.raises(DataError, match="empty"):
        read_masks(tmp_path)


def test_folder_without_any_pair_is_refused(tmp_path: Path) -> None:
    _folder(tmp_path, [], [])
    with pytest.raises(DataError, match="no picture with a label map"):
        read_masks(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(value=st.integers(0, 255), num_classes=st.integers(1, 254))
def test_a_value_is_a_class_ignored_or_an_error(
    tmp_path: Path, value: int, num_classes: int
) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (3, 2), value).save(path)
    if value < num_classes or value == 255:
        assert (read_mask(path, num_classes) == value).all()
    else:
        with pytest.raises(DataError, match=rf"a\.png has the value {value}: values go from 0 to"):
            read_mask(path, num_classes)


def test_palette_indices_are_the_labels(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([200, 0, 0, 0, 200, 0])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png")
    assert read_mask(tmp_path / "a.png", 2).tolist() == [[0, 1]]


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.npy"])
def test_sixteen_bits_hold_more_classes(tmp_path: Path, name: str) -> None:
    values = np.array([[0, 300, 255]], dtype=np.uint16)
    if name == "a.npy":
        np.save(tmp_path / name, values)
    else:
        Image.fromarray(values).save(tmp_path / name)
    assert read_mask(ImageRef(str(tmp_path / name)), 301).tolist() == [[0, 300, 255]]


def test_negative_value_is_an_error(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[-1]], dtype=np.int16))
    with pytest.raises(DataError, match="has the value -1"):
        read_mask(tmp_path / "a.npy", 3)


def test_size_of_the_picture_must_match(tmp_path: Path) -> None:
    Image.new("L", (4, 3)).save(tmp_path / "a.png")
    assert read_mask(tmp_path / "a.png", 1, size=(4, 3)).shape == (3, 4)
    with pytest.raises(DataError, match="is 4x3, its picture 3x4"):
        read_mask(tmp_path / "a.png", 1, size=(3, 4))


def test_colours_floats_and_damage_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (4, 3)).save(tmp_path / "rgb.png")
    np.save(tmp_path / "float.npy", np.zeros((2, 2)))
    palette = Image.effect_noise((64, 64), 50).convert("P")
    palette.save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    for name, message in (
        ("rgb.png", "3 channels of uint8: a label map has one"),
        ("float.npy", "1 channels of float64"),
        ("cut.png", "damaged"),
        ("none.png", "does not exist"),
    ):
        with pytest.raises(DataError, match=message):
            read_mask(tmp_path / name, 2)


def test_values_become_class_numbers_and_others_are_ignored() -> None:
    values = LabelValues((7, 8, 11), (0, 1))
    assert values.decode(np.array([[7, 11, 0, 255, 8]]), "m").tolist() == [[0, 2, 255, 255, 1]]


def test_255_is_ignored_even_where_there_are_more_classes() -> None:
    values = LabelValues(tuple(range(300)))
    assert values.decode(np.array([254, 255, 299]), "m").tolist() == [254, 255, 299]


def test_further_values_are_the_background_even_255() -> None:
    values = LabelValues((9, 4), background=(10, 255))
    assert values.decode(np.array([9, 10, 255, 4]), "m").tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("value", [-1, 9, 70000])
def test_a_value_that_means_nothing_is_named(value: int) -> None:
    with pytest.raises(DataError, match=rf"m has the value {value}: it is none of the 2 values"):
        LabelValues((7, 10), (0,)).decode(np.array([[7, value]]), "m")
    with pytest.raises(DataError, match=rf"{value}: values go from 7 to 8 .* ignored: 0, 255"):
        LabelValues((7, 8), (0,)).decode(np.array([value]), "m")


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp"])
def test_one_bit_is_the_classes_0_and_1(tmp_path: Path, name: str) -> None:
    truth = np.zeros((6, 8), dtype=bool)
    truth[:, 5:] = True
    Image.fromarray(truth).save(tmp_path / name)
    assert (read_mask(tmp_path / name, 2) == truth).all()


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("colour", [0, 3])
def test_few_bits_of_grey_and_of_a_palette_are_numbers(
    tmp_path: Path, bits: int, colour: int
) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    last = 2**bits - 1  # a row of two pixels: the class 0, then the last one
    row = bytes([0, last << (8 - 2 * bits)])
    head = struct.pack(">IIBBBBB", 2, 3, bits, colour, 0, 0, 0)
    palette = chunk(b"PLTE", bytes(range(3 * (last + 1)))) if colour else b""
    content = chunk(b"IHDR", head) + palette + chunk(b"IDAT", zlib.compress(row * 3))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content + chunk(b"IEND", b""))
    assert read_mask(tmp_path / "a.png", last + 1).tolist() == [[0, last]] * 3


def test_orientation_turns_every_kind_of_label_map(tmp_path: Path) -> None:
    truth = np.array([[0, 1, 1], [0, 0, 1]], dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 3
    palette = Image.fromarray(truth, "P")
    palette.putpalette(range(6))
    for name, image in (("l", Image.fromarray(truth)), ("p", palette)):
        image.save(tmp_path / f"{name}.png", exif=exif)
        assert read_mask(tmp_path / f"{name}.png", 2).tolist() == truth[::-1, ::-1].tolist()
    Image.fromarray(truth.astype(bool)).save(tmp_path / "1.png", exif=exif)
    assert read_mask(tmp_path / "1.png", 2).tolist() == truth[::-1, ::-1].tolist()
