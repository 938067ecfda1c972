import os
from pathlib import Path

import pytest

from dinotxt.data.pictures.folder import (
    folders_in,
    mirrored_name,
    pictures_in,
    play_order,
    printable,
    scan,
    sort_key,
    without_results,
)
from dinotxt.errors import DataError
from dinotxt.files import Results, mark_folder
from dinotxt.results.skip import Skip


def fill(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"x" * len(path))


def paths(folder: Path) -> list[str]:
    return [entry.path for entry in scan(folder)]


def test_pictures_of_every_depth_are_found_by_extension(tmp_path: Path) -> None:
    fill(tmp_path, "b.JPG", "a/c.png", "a/b/d.webp", "notes.txt", "a/film.mp4", "jpg")
    assert paths(tmp_path) == ["a/b/d.webp", "a/c.png", "b.JPG"]


def test_the_order_is_that_of_the_parts_of_the_path(tmp_path: Path) -> None:
    fill(tmp_path, "a/z.jpg", "a.jpg", "a-b/y.jpg", "B.jpg", "a/b/c.jpg")
    found = paths(tmp_path)
    assert found == sorted(found, key=sort_key)
    assert len(found) == 5


def test_size_and_time_come_with_each_picture(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg")
    os.utime(tmp_path / "a.jpg", ns=(5, 1234567891))
    (entry,) = scan(tmp_path)
    assert entry == ("a.jpg", 5, 1234567891)


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    fill(tmp_path, ".thumbnails/a.jpg", "._b.jpg", "c.jpg")
    assert paths(tmp_path) == ["c.jpg"]


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    fill(tmp_path, "a/b.jpg")
    (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "z").symlink_to(tmp_path / "a", target_is_directory=True)
    assert paths(tmp_path) == ["a/b.jpg"]


def test_a_folder_is_found_under_its_own_name_though_a_link_comes_first(tmp_path: Path) -> None:
    fill(tmp_path, "album/z/deep/b.jpg", "other/x/c.jpg")
    album = tmp_path / "album"
    (album / "a").symlink_to(album / "z", target_is_directory=True)
    (album / "deep").symlink_to(album / "z" / "deep", target_is_directory=True)
    (tmp_path / "other" / "a").symlink_to(tmp_path / "other" / "x", target_is_directory=True)
    (album / "more").symlink_to(tmp_path / "other", target_is_directory=True)
    (album / "still").symlink_to(tmp_path / "other", target_is_directory=True)
    assert paths(album) == ["more/x/c.jpg", "z/deep/b.jpg"]


def test_a_link_above_the_folder_gives_each_picture_once(tmp_path: Path) -> None:
    fill(tmp_path, "album/b.jpg", "album/c/d.jpg", "beside.jpg")
    (tmp_path / "album" / "a").symlink_to(tmp_path, target_is_directory=True)
    assert paths(tmp_path / "album") == ["a/beside.jpg", "b.jpg", "c/d.jpg"]


@pytest.mark.parametrize(
    "name", [".ipynb_checkpoints", "@eaDir", "#recycle", "__MACOSX", ".hidden"]
)
def test_folders_that_systems_make_are_left_out(tmp_path: Path, name: str) -> None:
    fill(tmp_path, f"{name}/a.jpg", f"b/{name}/c.jpg", "b/d.jpg")
    assert paths(tmp_path) == ["b/d.jpg"]
    assert folders_in(tmp_path) == [tmp_path / "b"]


def test_every_ending_of_jpeg_counts(tmp_path: Path) -> None:
    fill(tmp_path, "a.jfif", "b.JPE", "c.mpo", "d.jpeg")
    assert paths(tmp_path) == ["a.jfif", "b.JPE", "c.mpo", "d.jpeg"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.HEIC", "HEIC"), ("a.dng", "a camera's raw data"), ("a.CR2", "a camera's raw data")],
)
def test_pictures_that_cannot_be_read_here_are_told(tmp_path: Path, name: str, kind: str) -> None:
    fill(tmp_path, name, "b.jpg", "c.txt")
    skipped: list[Skip] = []
    assert [entry.path for entry in scan(tmp_path, on_skip=skipped.append)] == ["b.jpg"]
    reason = f"is {kind}, which is not read here: convert it to JPEG, PNG or TIFF"
    assert skipped == [Skip(name, reason)]


def test_links_to_nothing_and_what_is_no_file_are_told(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg")
    (tmp_path / "holiday").symlink_to(tmp_path / "unplugged", target_is_directory=True)
    os.mkfifo(tmp_path / "pipe.jpg")
    skipped: list[Skip] = []
    assert list(pictures_in(tmp_path, skipped.append)) == [tmp_path / "a.jpg"]
    assert skipped == [
        Skip(f"{tmp_path}/holiday", "is a link to nothing"),
        Skip(f"{tmp_path}/pipe.jpg", "is not a file"),
    ]


def test_a_folder_that_dinotxt_wrote_is_left_out_and_told(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "index/thumbnails/00/b.jpg")
    mark_folder(tmp_path / "index", "index")
    with pytest.warns(UserWarning, match="index is what dinotxt index wrote: it is left out"):
        assert paths(tmp_path) == ["a.jpg"]
    assert paths(tmp_path / "index") == ["thumbnails/00/b.jpg"]  # asked for by name


def test_results_beside_pictures_are_left_out_unless_they_are_wanted(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "a_labels.png", "b/c.jpg")
    written = Results("segment")
    for name in ("a_labels.png", "b/c_overlay.png", "a_labels.png"):
        written.add(tmp_path / name)
    Results("segment").add(tmp_path / "a_labels.png")
    fill(tmp_path, "b/c_overlay.png")
    with pytest.warns(UserWarning, match="holds what dinotxt segment wrote: that is left out"):
        assert paths(tmp_path) == ["a.jpg", "b/c.jpg"]
    everything = [entry.path for entry in scan(tmp_path, results=True)]
    assert everything == ["a.jpg", "a_labels.png", "b/c.jpg", "b/c_overlay.png"]
    assert (tmp_path / ".dinotxt").read_text() == 'dinotxt segment\n"a_labels.png"\n'


def test_a_linked_folder_elsewhere_is_followed(tmp_path: Path) -> None:
    fill(tmp_path, "other/b.jpg", "album/a.jpg")
    (tmp_path / "album" / "more").symlink_to(tmp_path / "other", target_is_directory=True)
    assert paths(tmp_path / "album") == ["a.jpg", "more/b.jpg"]


def test_broken_links_are_reported(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg")
    (tmp_path / "b.jpg").symlink_to(tmp_path / "gone.jpg")
    (tmp_path / "c.jpg").symlink_to(tmp_path / "c.jpg")
    skipped: list[Skip] = []
    assert [entry.path for entry in scan(tmp_path, on_skip=skipped.append)] == ["a.jpg"]
    assert [skip.path for skip in skipped] == ["b.jpg", "c.jpg"]
    with pytest.raises(DataError, match=r"b\.jpg: cannot be read"):
        paths(tmp_path)


def test_a_folder_that_cannot_be_listed_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, "a.jpg", "locked/b.jpg")
    listed = os.scandir

    def refuse(path: str) -> object:
        if path.endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", refuse)
    skipped: list[Skip] = []
    assert [entry.path for entry in scan(tmp_path, on_skip=skipped.append)] == ["a.jpg"]
    assert skipped == [Skip("locked/", "cannot be read (Permission denied)")]


@pytest.mark.parametrize("path", ["missing", "file.jpg"])
def test_what_is_no_folder_is_refused(tmp_path: Path, path: str) -> None:
    fill(tmp_path, "file.jpg")
    with pytest.raises(DataError, match="is not a folder"):
        paths(tmp_path / path)


def test_a_name_that_is_not_utf8_can_be_printed() -> None:
    assert printable(os.fsdecode(b"caf\xe9.jpg")) == "caf\\xe9.jpg"


def test_frames_are_played_by_their_numbers() -> None:
    frames = ["v/frame10.png", "v/frame2.png", "v/frame1.png", "u/9.png", "u/10.png"]
    assert play_order(frames) == [
        "u/9.png",
        "u/10.png",
        "v/frame1.png",
        "v/frame2.png",
        "v/frame10.png",
    ]


def test_names_of_digits_and_of_letters_can_be_mixed() -> None:
    assert play_order(["b.png", "10.png", "a2b.png", "2.png"]) == [
        "2.png",
        "10.png",
        "a2b.png",
        "b.png",
    ]


def test_results_keep_the_folders_of_their_frames() -> None:
    assert mirrored_name("clips/a/0001.png", "clips") == "a/0001"
    assert mirrored_name("clips/0001.tar.png", "clips") == "0001.tar"


def test_results_that_a_pattern_of_the_shell_matches_are_left_out(tmp_path: Path) -> None:
    Results("segment").add(tmp_path / "a_labels.png")
    both = [f"{tmp_path}/a.png", f"{tmp_path}/a_labels.png"]
    with pytest.warns(UserWarning, match="dinotxt segment wrote: that is left out"):
        assert without_results(both) == both[:1]
    assert without_results(both[1:]) == both[1:]  # nothing else was asked for
