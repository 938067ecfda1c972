from pathlib import Path

from dinotxt.errors import DataError
from dinotxt.results.hit import Hit
from dinotxt.search.sheet import contact_sheet

MARKUP = "<img src=x onerror=alert(1)>"


def page(path: str, title: str = "a dog") -> str:
    def thumbnail(path: str, side: int) -> bytes:
        if "gone" in path:
            raise DataError("it is gone")
        return b"jpeg"

    return contact_sheet([Hit(0.25, path)], title=title, note="1 of 2", thumbnail=thumbnail)


def test_the_sheet_holds_the_picture_its_name_its_score_and_a_link() -> None:
    found = page("/photos/a b.jpg")
    assert '<img alt="" src="data:image/jpeg;base64,anBlZw==">' in found
    assert "<span" in found
    assert ">a b.jpg</span>" in found
    assert ">0.250</data>" in found
    assert 'href="file:///photos/a%20b.jpg"' in found
    assert "<h1>a dog</h1>" in found


def test_names_and_words_are_text_whatever_is_in_them() -> None:
    found = page(f'/photos/{MARKUP}".jpg', title=MARKUP)
    assert MARKUP not in found
    assert "&lt;img src=x onerror=alert(1)&gt;" in found
    assert "default-src 'none'" in found


def test_a_picture_that_is_gone_is_said_to_be() -> None:
    assert "cannot be read" in page("/photos/gone.jpg")


def test_a_name_that_is_no_utf8_can_be_shown() -> None:
    found = page("/photos/caf\udce9.jpg")
    assert "caf\\xe9.jpg" in found
    assert "caf%E9.jpg" in found
    found.encode("utf-8")
    assert Path("/photos/caf\udce9.jpg").as_uri() in found
