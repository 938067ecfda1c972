import json
from pathlib import Path

import pytest

from dinotxt.data.readers.pairs import read_pairs
from dinotxt.errors import DataError
from dinotxt.results.skip import Skip

Found = list[tuple[str, tuple[str, ...]]]


def _read(path: Path, skips: list[Skip] | None = None) -> Found:
    on_skip = None if skips is None else skips.append
    return [(pair.key, pair.captions) for pair in read_pairs(path, on_skip=on_skip)]


def test_csv_groups_rows_of_one_path_and_resolves_it_beside_the_table(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text('\ufeffpath,caption\nim/a.jpg,"one, two"\nb.jpg,three\nim/a.jpg,"li\nne"\n')
    pairs = read_pairs(path)
    assert [(pair.key, pair.captions) for pair in pairs] == [
        ("im/a.jpg", ("one, two", "li\nne")),
        ("b.jpg", ("three",)),
    ]
    assert pairs[0].image.path == str(tmp_path / "im" / "a.jpg")


def test_absolute_paths_stay(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("image,text\n/data/a.jpg,one\n")
    assert read_pairs(path)[0].image.path == "/data/a.jpg"


@pytest.mark.parametrize("header", ["Path,Caption", "filepath,title", "file_name,extra,text"])
def test_usual_column_names_are_known(tmp_path: Path, header: str) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text(f"{header}\n" + ",".join(["a.jpg"] * header.count(",")) + ",one\n")
    assert _read(path) == [("a.jpg", ("one",))]


def test_tsv_and_jsonl_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("path\tcaption\na.jpg\tone, two\n")
    assert _read(tmp_path / "a.tsv") == [("a.jpg", ("one, two",))]
    rows = [{"image": "a.jpg", "captions": ["one", "two"]}, {"image": "b.jpg", "captions": "three"}]
    (tmp_path / "a.jsonl").write_text("\n\n".join(map(json.dumps, rows)))
    assert _read(tmp_path / "a.jsonl") == [("a.jpg", ("one", "two")), ("b.jpg", ("three",))]


def test_parquet_is_read(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {
        "path": ["a.jpg", "b.jpg", None],
        "captions": [["one", "two"], ["three"], ["lost"]],
        "other": [1, 2, 3],
    }
    parquet.write_table(arrow.table(columns), tmp_path / "a.parquet")
    skips: list[Skip] = []
    found = _read(tmp_path / "a.parquet", skips)
    assert found == [("a.jpg", ("one", "two")), ("b.jpg", ("three",))]
    assert [(skip.path, skip.reason) for skip in skips] == [
        (f"{tmp_path / 'a.parquet'}:3", "the row has no path")
    ]


def test_broken_parquet_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 garbage")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        _read(tmp_path / "a.parquet")


def test_bad_rows_are_reported_by_line_and_the_others_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [
        b'{"path": "a.jpg", "caption": "good"}',
        b'{"path": "caf\xe9.jpg", "caption": "bad bytes"}',
        b"{broken",
        b"[1, 2]",
        b'{"path": "b.jpg", "caption": 5}',
        b'{"path": 7, "caption": "x"}',
        b'{"path": "c.jpg", "caption": ""}',
    ]
    path.write_bytes(b"\n".join(lines))
    skips: list[Skip] = []
    assert _read(path, skips) == [("a.jpg", ("good",))]
    assert [skip.path.rpartition(":")[2] for skip in skips[:5]] == ["2", "3", "4", "5", "6"]
    assert skips[5].path == str(tmp_path / "c.jpg")


def test_csv_with_invalid_utf8_loses_that_row_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"path,caption\na.jpg,caf\xe9\nb.jpg,fine\nc.jpg,also\n")
    skips: list[Skip] = []
    assert _read(path, skips) == [("b.jpg", ("fine",)), ("c.jpg", ("also",))]
    assert [skip.path for skip in skips] == [f"{path}:2"]


def test_csv_row_with_an_unquoted_comma_is_reported_and_no_caption_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("path,caption\na.jpg,a dog, a cat\nb.jpg,fine\n")
    skips: list[Skip] = []
    assert _read(path, skips) == [("b.jpg", ("fine",))]
    reason = "the row has more cells than the 2 of the header: quote its text"
    assert [(skip.path, skip.reason) for skip in skips] == [(f"{path}:2", reason)]


def test_csv_quote_that_is_never_closed_swallows_no_row_in_silence(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        'path,caption\na.jpg,"one\ntwo"\nb.jpg,"three"four\nc.jpg,five\nd.jpg,"six\ne,7\n'
    )
    skips: list[Skip] = []
    assert _read(path, skips) == [("a.jpg", ("one\ntwo",)), ("c.jpg", ("five",))]
    assert [skip.path for skip in skips] == [f"{path}:4", f"{path}:6"]
    assert "unexpected end of data" in skips[1].reason


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_csv_is_separated_by_what_its_header_has(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(f'\ufeffpath{mark}caption\r\na.jpg{mark}"one, {mark} two"\r\n'.encode())
    assert _read(path) == [("a.jpg", (f"one, {mark} two",))]


def test_caption_of_ten_thousand_words_fits_a_field(tmp_path: Path) -> None:
    text = " ".join(["wordwordwordword"] * 10_000)
    (tmp_path / "a.csv").write_text(f"path,caption\na.jpg,{text}\n")
    assert _read(tmp_path / "a.csv")[0][1][0] == text


def test_missing_columns_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("name,words\na.jpg,one\n")
    with pytest.raises(DataError, match="has the columns name, words: it needs one of path"):
        _read(path)


def test_web_address_in_a_row_is_an_error_when_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("path,caption\nhttps://x.org/a.jpg,one\n")
    with pytest.raises(DataError, match="not fetched"):
        read_pairs(tmp_path / "a.csv")[0].image.open()


def test_a_line_of_jsonl_without_a_caption_is_half_a_pair_among_many(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [{"path": "a.jpg", "caption": "one"}, {"path": "b.jpg"}, {"caption": "three"}]
    path.write_text("\n".join(map(json.dumps, [*lines, {"path": "d.jpg", "text": "four"}])))
    skips: list[Skip] = []
    assert [captions for _, captions in _read(path, skips)] == [("one",), ("four",)]
    assert [skip.path for skip in skips] == [f"{path}:2", f"{path}:3"]
