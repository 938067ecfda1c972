from pathlib import Path

import pytest

from dinotxt.errors import ConfigError
from dinotxt.text.class_names import class_names


def test_imagenet_has_its_thousand_names() -> None:
    names = class_names("imagenet")
    assert len(names) == 1000
    assert (names[0], names[-1]) == ("tench", "toilet paper")


def test_names_come_from_a_file_one_a_line(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("\ufeffcat | kitty\nred panda \n\n")
    assert class_names(tmp_path / "names.txt") == ("cat | kitty", "red panda")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"cat\n\ndog\n", ":2 is empty"), (b"\n", "is empty"), (b"c\xff\n", "nor a readable file")],
)
def test_bad_file_of_names_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "names.txt").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        class_names(tmp_path / "names.txt")


def test_unknown_name_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"neither a list of class names \(imagenet, ade20k"):
        class_names("imagenot")
