import io
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dinotxt.data.readers.tar import TarMember, scan_tar
from dinotxt.errors import DataError
from dinotxt.results.skip import Skip

MakeTar = Callable[[Path, Mapping[str, Any]], Path]
FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def _fail(skip: Skip) -> None:
    raise AssertionError(skip)


def _reference(path: Path) -> list[TarMember]:
    with tarfile.open(path) as archive:
        return [TarMember(m.name, m.offset_data, m.size) for m in archive if m.isfile()]


@pytest.mark.parametrize("kind", FORMATS)
def test_index_equals_the_standard_librarys(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.tar"
    names = ["a.jpg", "deep/" * 20 + "long.jpg", "folder/b.txt"]
    names += [] if kind == "ustar" else ["x" * 150 + ".jpg", "caf\u00e9/\u65e5\u672c.jpg"]
    with tarfile.open(path, "w", format=FORMATS[kind]) as archive:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "y" * (50 if kind == "ustar" else 150)
        archive.addfile(link)
        for number, name in enumerate(names):
            info = tarfile.TarInfo(name)
            info.size = 700 * number
            archive.addfile(info, io.BytesIO(b"x" * info.size))
    found = scan_tar(path, _fail)
    assert found == _reference(path)
    assert [member.name for member in found] == names


def test_pax_size_and_global_headers_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    headers = {"comment": "global"}
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, pax_headers=headers) as archive:
        info = tarfile.TarInfo("a.jpg")
        info.size, info.pax_headers = 5, {"size": "5", "mtime": "1.5"}
        archive.addfile(info, io.BytesIO(b"hello"))
    assert scan_tar(path, _fail) == _reference(path)


def test_size_beyond_octal_is_base_256(tmp_path: Path, make_tar: MakeTar) -> None:
    path = make_tar(tmp_path / "a.tar", {"a.txt": "hello"})
    content = bytearray(path.read_bytes())
    content[124:136] = b"\x80" + (5).to_bytes(11, "big")
    content[148:156] = b" " * 8
    content[148:156] = b"%06o\0 " % sum(content[:512])
    path.write_bytes(bytes(content))
    assert [member.size for member in scan_tar(path, _fail)] == [5]


def test_torn_tar_gives_what_stands_before_the_tear(tmp_path: Path, make_tar: MakeTar) -> None:
    path = make_tar(tmp_path / "a.tar", {f"{n}.txt": "x" * 600 for n in range(5)})
    whole = scan_tar(path, _fail)
    content = path.read_bytes()
    for cut, kept, byte in ((4 * 1536 + 600, 4, 6144), (3 * 1536 + 100, 3, 4608), (3072, 2, 3072)):
        path.write_bytes(content[:cut])
        skips: list[Skip] = []
        assert scan_tar(path, skips.append) == whole[:kept]
        assert [skip.path for skip in skips] == [str(path)]
        assert f"torn at byte {byte}" in skips[0].reason


def test_damaged_header_ends_the_index(tmp_path: Path, make_tar: MakeTar) -> None:
    path = make_tar(tmp_path / "a.tar", {"a.txt": "x", "b.txt": "y", "c.txt": "z"})
    content = bytearray(path.read_bytes())
    for place, value in ((1024 + 3, 0x41), (1024 + 130, 0x39), (1024 + 150, 0x39)):
        damaged = bytearray(content)
        damaged[place] = value
        path.write_bytes(bytes(damaged))
        skips: list[Skip] = []
        assert [member.name for member in scan_tar(path, skips.append)] == ["a.txt"]
        assert "torn at byte 1024 (a header" in skips[0].reason


@pytest.mark.parametrize("record", [b"garbage", b"99 path=a\n", b"9 size=x\n\n"])
def test_damaged_extended_header_ends_the_index(tmp_path: Path, record: bytes) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("pax")
        info.type, info.size = tarfile.XHDTYPE, len(record)
        archive.fileobj.write(info.tobuf(tarfile.USTAR_FORMAT) + record.ljust(512, b"\0"))
    skips: list[Skip] = []
    assert scan_tar(path, skips.append) == []
    assert "an extended header is damaged" in skips[0].reason


def test_oversized_extended_header_ends_the_index(tmp_path: Path) -> None:
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 1 << 30
    path = tmp_path / "a.tar"
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT))
    skips: list[Skip] = []
    assert scan_tar(path, skips.append) == []
    assert "cut short or too long" in skips[0].reason


def test_name_that_is_not_utf8_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as archive:
        archive.addfile(tarfile.TarInfo("caf\u00e9.jpg"))
        archive.addfile(tarfile.TarInfo("b.jpg"))
    skips: list[Skip] = []
    assert [member.name for member in scan_tar(path, skips.append)] == ["b.jpg"]
    assert skips[0].reason == "its name is not UTF-8"


def test_compressed_missing_and_unreadable_tars_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a"))
    for path, message in (
        (tmp_path / "a.tar", "is compressed: unpack it"),
        (tmp_path / "none.tar", "cannot be opened"),
        (tmp_path, "cannot be read"),
    ):
        with pytest.raises(DataError, match=message):
            scan_tar(path, _fail)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(cut=st.integers(0, 5000), place=st.integers(0, 4999), value=st.integers(0, 255))
def test_any_damage_leaves_members_inside_the_file(
    tmp_path: Path, make_tar: MakeTar, cut: int, place: int, value: int
) -> None:
    path = make_tar(tmp_path / "a.tar", {"a.txt": "x" * 600, "b" * 120: "y", "c.txt": "z"})
    content = bytearray(path.read_bytes()[:cut])
    if place < len(content):
        content[place] = value
    path.write_bytes(bytes(content))
    skips: list[Skip] = []
    members = scan_tar(path, skips.append)
    assert all(member.offset + member.size <= len(content) for member in members)
    if cut < 3000:
        assert skips
