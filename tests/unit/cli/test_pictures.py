from pathlib import Path

from dinotxt.cli.pictures import expand_pictures
from dinotxt.results.skip import Skip


def test_broken_link_in_a_folder_is_reported_with_the_folder(tmp_path: Path) -> None:
    (tmp_path / "album" / "more").mkdir(parents=True)
    (tmp_path / "album" / "a.jpg").touch()
    link = tmp_path / "album" / "more" / "b.jpg"
    link.symlink_to("gone.jpg")
    skips: list[Skip] = []
    found = expand_pictures([str(tmp_path / "album")], skips.append)
    assert found == [str(tmp_path / "album" / "a.jpg")]
    assert [skip.path for skip in skips] == [str(link)]
