import csv
import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dinotxt.data.readers.pairs import read_pairs
from dinotxt.errors import DataError
from dinotxt.results.skip import Skip

MakeImage = Callable[..., bytes]
MakeTar = Callable[[Path, Mapping[str, Any]], Path]


def _write(path: Path, content: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def test_tar_gives_captions_of_each_kind_and_pictures_by_offset(
    tmp_path: Path, make_image: MakeImage, make_tar: MakeTar
) -> None:
    images = [make_image(8 + n, 8, kind=kind) for n, kind in enumerate(("JPEG", "PNG", "WEBP"))]
    path = make_tar(
        tmp_path / "train-000.tar",
        {
            "0.jpg": images[0],
            "0.json": {"captions": ["a", " b ", ""]},
            "1.png": images[1],
            "1.json": {"caption": "one"},
            "sub/2.webp": images[2],
            "sub/2.txt": "first\nsecond\n",
            "readme.md": "not a part",
            "._0.jpg": "left by a Mac",
        },
    )
    pairs = read_pairs(path)
    assert [(pair.key, pair.captions) for pair in pairs] == [
        ("train-000/0", ("a", "b")),
        ("train-000/1", ("one",)),
        ("train-000/sub/2", ("first", "second")),
    ]
    assert [pair.image.read() for pair in pairs] == images
    assert pairs[0].image.open().size == (8, 8)


def test_img2dataset_folder_is_read_as_it_is(
    tmp_path: Path, make_image: MakeImage, make_tar: MakeTar
) -> None:
    for shard in ("00000", "00001"):
        info = {"caption": "null caption", "url": "http://x", "key": "000"}
        files = {"000.jpg": make_image(), "000.txt": shard, "000.json": {**info, "caption": None}}
        make_tar(tmp_path / f"{shard}.tar", files)
        _write(tmp_path / f"{shard}_stats.json", json.dumps({"count": 1}))
        _write(tmp_path / f"{shard}.parquet", b"PAR1")
    pairs = read_pairs(tmp_path)
    assert [(pair.key, pair.captions[0]) for pair in pairs] == [
        ("00000/000", "00000"),
        ("00001/000", "00001"),
    ]


def test_a_datacomp_download_is_read_as_it_is(
    tmp_path: Path, make_image: MakeImage, make_tar: MakeTar
) -> None:
    (tmp_path / "metadata").mkdir()
    _write(tmp_path / "metadata" / "0000.parquet", b"PAR1")
    (tmp_path / "shards").mkdir()
    content = json.dumps({"uid": "f" * 32, "caption": "a dog", "key": "00000000000"})
    files = {"00000000000.jpg": make_image(), "00000000000.json": content}
    make_tar(tmp_path / "shards" / "00000000.tar", files)
    assert [pair.captions for pair in read_pairs(tmp_path)] == [("a dog",)]


def test_clip_benchmark_folder_reads_its_test_shards_by_number(
    tmp_path: Path, make_image: MakeImage, make_tar: MakeTar
) -> None:
    _write(tmp_path / "test" / "nshards.txt", "3")
    for shard in (10, 2, 0):
        make_tar(
            tmp_path / "test" / f"{shard}.tar", {"a.jpg": make_image(), "a.txt": f"shard {shard}"}
        )
    make_tar(tmp_path / "train" / "0.tar", {"a.jpg": make_image(), "a.txt": "train"})
    found = [pair.captions[0] for pair in read_pairs(tmp_path)]
    assert found == ["shard 0", "shard 2", "shard 10"]
    _write(tmp_path / "test" / "nshards.txt", "12")
    skips: list[Skip] = []
    assert len(read_pairs(tmp_path, on_skip=skips.append)) == 3
    assert [skip.reason for skip in skips] == ["it counts 12 tars, there are 3"]


def test_globs_braces_and_lists_mean_shards_and_keys_stay_unique(
    tmp_path: Path, make_image: MakeImage, make_tar: MakeTar
) -> None:
    for folder in ("a", "b"):
        for shard in range(3):
            make_tar(
                tmp_path / folder / f"s-{shard:03d}.tar", {"x.jpg": make_image(), "x.txt": "hi"}
            )
    assert len(read_pairs(str(tmp_path / "a" / "s-{000..002}.tar"))) == 3
    assert [pair.key for pair in read_pairs(str(tmp_path / "*" / "s-000.tar"))] == [
        "a/s-000/x",
        "b/s-000/x",
    ]
    both = read_pairs([tmp_path / "a" / "s-000.tar", tmp_path / "b" / "s-000.tar"])
    assert len({pair.key for pair in both}) == 2
    skips: list[Skip] = []
    assert len(read_pairs(str(tmp_path / "{a,c}" / "s-001.tar"), on_skip=skips.append)) == 1
    assert [skip.reason for skip in skips] == ["does not exist"]


def test_same_source_twice_is_reported(
    tmp_path: Path, make_image: MakeImage, make_tar: MakeTar
) -> None:
    path = make_tar(tmp_path / "a.tar", {"x.jpg": make_image(), "x.txt": "hi"})
    skips: list[Skip] = []
    assert len(read_pairs([path, path], on_skip=skips.append)) == 1
    assert "came before" in skips[0].reason


def test_bad_records_are_reported_and_the_others_kept(
    tmp_path: Path, make_image: MakeImage, make_tar: MakeTar
) -> None:
    image = make_image()
    path = make_tar(
        tmp_path / "a.tar",
        {
            "good.jpg": image,
            "good.txt": "fine",
            "lone.jpg": image,
            "orphan.json": {"captions": ["x"]},
            "utf.jpg": image,
            "utf.txt": b"caf\xe9",
            "json.jpg": image,
            "json.json": b"{not json",
            "list.jpg": image,
            "list.json": b"[1]",
            "number.jpg": image,
            "number.json": {"captions": [1]},
            "object.jpg": image,
            "object.json": {"captions": {"a": 1}},
            "blank.jpg": image,
            "blank.txt": "  \n",
            "good.JPG": image,
        },
    )
    skips: list[Skip] = []
    pairs = read_pairs(path, on_skip=skips.append)
    assert [pair.key for pair in pairs] == ["a/good"]
    reasons = {skip.path.rpartition("::")[2]: skip.reason for skip in skips}
    assert reasons.keys() == {
        "lone.jpg",
        "orphan.json",
        "utf.jpg",
        "json.jpg",
        "list.jpg",
        "number.jpg",
        "object.jpg",
        "blank.jpg",
        "good.JPG",
    }
    assert reasons["lone.jpg"] == "half a pair: it has no caption"
    assert reasons["orphan.json"] == "half a pair: it has no picture"
    assert "not valid UTF-8" in reasons["utf.jpg"]
    assert "twice" in reasons["good.JPG"]
    with pytest.raises(DataError, match=r"good\.JPG"):
        read_pairs(path)


def test_torn_tar_gives_the_pairs_before_the_tear(
    tmp_path: Path, make_image: MakeImage, make_tar: MakeTar
) -> None:
    files: dict[str, Any] = {}
    for number in range(4):
        files |= {f"{number}.jpg": make_image(), f"{number}.json": {"caption": "x"}}
    path = make_tar(tmp_path / "a.tar", files)
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"3.json") + 20])
    skips: list[Skip] = []
    assert len(read_pairs(path, on_skip=skips.append)) == 3
    assert "torn at byte" in skips[0].reason
    assert skips[1].reason == "half a pair: it has no caption"


def test_one_unreadable_shard_is_reported_and_the_others_read(
    tmp_path: Path, make_image: MakeImage, make_tar: MakeTar
) -> None:
    make_tar(tmp_path / "0.tar", {"x.jpg": make_image(), "x.txt": "hi"})
    _write(tmp_path / "1.tar", b"\x1f\x8b not a plain tar")
    skips: list[Skip] = []
    assert len(read_pairs(tmp_path, on_skip=skips.append)) == 1
    assert "compressed" in skips[0].reason


def test_folder_of_pictures_with_texts_beside_them(tmp_path: Path, make_image: MakeImage) -> None:
    _write(tmp_path / "b" / "2.v1.png", make_image(kind="PNG"))
    _write(tmp_path / "b" / "2.v1.json", json.dumps({"captions": ["two"]}))
    _write(tmp_path / "1.jpg", make_image())
    _write(tmp_path / "1.txt", "\ufeffone")
    pairs = read_pairs(tmp_path)
    assert [(pair.key, pair.captions) for pair in pairs] == [
        ("1", ("one",)),
        ("b/2.v1", ("two",)),
    ]


def test_captions_may_be_optional(tmp_path: Path, make_image: MakeImage) -> None:
    _write(tmp_path / "1.jpg", make_image())
    assert read_pairs(tmp_path, need_captions=False)[0].captions == ()
    with pytest.raises(DataError, match="no caption"):
        read_pairs(tmp_path)


def test_empty_folder_unknown_form_and_address_are_refused(tmp_path: Path) -> None:
    _write(tmp_path / "data.xyz", "x")
    (tmp_path / "empty").mkdir()
    for data, message in (
        (tmp_path / "empty", "no usable pairs"),
        (tmp_path / "data.xyz", "no form of data that is known"),
        (tmp_path / "none-{0..3}.tar", "matches nothing"),
        (tmp_path / "none", "does not exist"),
        ("https://example.com/a.tar", "not fetched"),
    ):
        with pytest.raises(DataError, match=message):
            read_pairs(data)


def test_caption_of_ten_thousand_words_is_kept(
    tmp_path: Path, make_image: MakeImage, make_tar: MakeTar
) -> None:
    text = "word " * 10_000
    path = make_tar(tmp_path / "a.tar", {"x.jpg": make_image(), "x.txt": text})
    assert read_pairs(path)[0].captions == (text.strip(),)


def _tar(path: Path, files: dict[str, bytes]) -> str:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return str(path)


@pytest.mark.parametrize("picture", ["0.jpg", "0.png", "0.webp"])
def test_an_array_beside_a_picture_is_not_the_picture(tmp_path: Path, picture: str) -> None:
    files = {"0.json": b'{"caption": "red"}', "0.npy": b"array", picture: b"picture"}
    (pair,) = read_pairs(_tar(tmp_path / "a.tar", files))
    assert (pair.image.member, pair.captions) == (picture, ("red",))
    (alone,) = read_pairs(_tar(tmp_path / "b.tar", {"0.npy": b"array", "0.txt": b"red"}))
    assert alone.image.member == "0.npy"


@pytest.mark.parametrize("empty", ["null", "[]", '""'])
def test_a_key_without_content_falls_to_the_next(tmp_path: Path, empty: str) -> None:
    content = f'{{"captions": {empty}, "caption": "", "text": "a dog"}}'.encode()
    (pair,) = read_pairs(_tar(tmp_path / "a.tar", {"0.jpg": b"x", "0.json": content}))
    assert pair.captions == ("a dog",)
    row = f'{{"image": "0.jpg", "captions": {empty}, "text": "a cat"}}\n'
    (tmp_path / "a.jsonl").write_text(row)
    assert read_pairs(tmp_path / "a.jsonl")[0].captions == ("a cat",)


def test_two_endings_make_one_pair_where_one_picture_alone_is_meant(tmp_path: Path) -> None:
    files = {"a/x.input.jpg": b"x", "a/x.caption.txt": b"red", "y.jpg": b"y", "y.outputs.txt": b"b"}
    pairs = read_pairs(_tar(tmp_path / "a.tar", files))
    assert [(pair.key, pair.image.member, pair.captions) for pair in pairs] == [
        ("a/a/x", "a/x.input.jpg", ("red",)),
        ("a/y", "y.jpg", ("b",)),
    ]
    dots = {"22.05.png": b"x", "22.06.txt": b"another"}  # two numbers, each half a pair
    skips: list[Skip] = []
    with pytest.raises(DataError, match="no usable pairs"):
        read_pairs(_tar(tmp_path / "dots.tar", dots), on_skip=skips.append)
    assert len(skips) == 2
    depth = {"a.image.png": b"x", "a.depth.png": b"y", "a.txt": b"red"}
    (pair,) = read_pairs(_tar(tmp_path / "depth.tar", depth), on_skip=skips.append)
    assert pair.image.member == "a.image.png"
    two = {"a.left.png": b"x", "a.right.png": b"y", "a.txt": b"red"}
    with pytest.raises(DataError, match="no usable pairs"):
        read_pairs(_tar(tmp_path / "two.tar", two), on_skip=skips.append)
    assert any("two endings" in skip.reason for skip in skips)


@pytest.mark.parametrize("cell", ['["a dog", "a brown dog"]', "['a dog', 'a brown dog']"])
def test_a_list_in_a_cell_is_several_captions(tmp_path: Path, cell: str) -> None:
    with (tmp_path / "a.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["filename", "captions"], ["a.jpg", cell], ["b.jpg", "[x]"]])
    first, second = read_pairs(tmp_path / "a.csv")
    assert first.captions == ("a dog", "a brown dog")
    assert second.captions == ("[x]",)


def test_a_list_in_json_is_read_as_rows(tmp_path: Path) -> None:
    rows = [{"image": "val/x.jpg", "caption": ["a", "b"]}, {"image": "y.jpg", "caption": "c"}, 3]
    (tmp_path / "train.json").write_text(json.dumps(rows))
    skips: list[Skip] = []
    pairs = read_pairs(tmp_path / "train.json", on_skip=skips.append)
    assert [pair.captions for pair in pairs] == [("a", "b"), ("c",)]
    assert [skip.reason for skip in skips] == ["it is not a JSON object"]


@pytest.mark.parametrize(
    ("table", "rows"),
    [
        ("captions.txt", "image,caption\na.jpg,a dog\n"),
        ("results.csv", "image_name| comment_number| comment\na.jpg| 0| a dog\n"),
        ("metadata.jsonl", '{"file_name": "a.jpg", "text": "a dog"}\n'),
    ],
)
def test_tables_of_kaggle_and_hugging_face_are_found_in_their_folder(
    tmp_path: Path, table: str, rows: str
) -> None:
    (tmp_path / "Images").mkdir()
    (tmp_path / "Images" / "a.jpg").touch()
    (tmp_path / table).write_text(rows)
    for data in (tmp_path, tmp_path / table):
        (pair,) = read_pairs(data)
        assert (pair.image.path, pair.captions) == (f"{tmp_path}/Images/a.jpg", ("a dog",))
