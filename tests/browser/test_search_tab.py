from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.slow

Open = Callable[..., Page]
MARKUP = "<img src=x onerror=alert(1)>.png"


def _search(page: Page, words: str) -> None:
    page.click("#tab-search")
    page.fill("#query", words)
    page.keyboard.press("Enter")
    page.wait_for_selector(".tile")


def test_words_fill_the_grid_with_pictures(open_page: Open) -> None:
    page = open_page()
    _search(page, "blue")
    tiles = page.locator(".tile")
    expect(tiles).to_have_count(5)
    expect(tiles.first).to_contain_text("blue.png")
    page.wait_for_function("document.querySelector('.tile img').naturalWidth > 0")


def test_file_names_are_text_whatever_is_in_them(open_page: Open) -> None:
    page = open_page()
    _search(page, "green")
    expect(page.locator("#grid")).to_contain_text(MARKUP)
    assert page.locator("#grid b img").count() == 0


def test_a_picture_opens_large_and_the_arrows_go_on(open_page: Open) -> None:
    page = open_page()
    _search(page, "red")
    page.locator(".tile").first.click()
    expect(page.locator("#lightbox-path")).to_have_text("red.png")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#lightbox-path")).not_to_have_text("red.png")
    page.keyboard.press("Escape")
    expect(page.locator("#lightbox")).to_be_hidden()


def test_a_hit_can_be_segmented(open_page: Open) -> None:
    page = open_page()
    _search(page, "red")
    page.locator(".tile").first.click()
    page.click("#use")
    expect(page.locator("#panel-analyse")).to_be_visible()
    expect(page.locator("#viewer")).to_be_visible()


def test_a_folder_and_dates_narrow_the_search(open_page: Open) -> None:
    page = open_page()
    page.click("#tab-search")
    page.get_by_text("Only some pictures").click()
    page.fill("#until", "1999-12-31")
    page.fill("#query", "red")
    page.keyboard.press("Enter")
    expect(page.locator("#search-note")).to_contain_text("No picture of 5")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".tile")).to_have_count(5)
    page.fill("#folder", "elsewhere")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("no pictures in elsewhere")


def test_a_picture_finds_its_like(open_page: Open, pictures: dict[str, Path]) -> None:
    page = open_page()
    page.click("#tab-search")
    page.set_input_files("#query-file", pictures["half"])
    expect(page.locator(".tile").first).to_contain_text("half.png")
    expect(page.locator("#search-note")).to_contain_text("your picture")


def test_without_an_index_the_tab_says_how_to_make_one(open_page: Open) -> None:
    page = open_page(indexed=False)
    page.click("#tab-search")
    expect(page.locator("#search-note")).to_contain_text("dinotxt index")
    expect(page.locator("#query")).to_be_disabled()


def test_a_server_with_a_token_asks_for_it(open_page: Open) -> None:
    page = open_page(token="secret")
    for given in ("wrong", "secret"):
        page.wait_for_selector("#token-dialog[open]")
        page.fill("#token", given)
        page.keyboard.press("Enter")
    page.wait_for_selector("html[data-ready]")
    _search(page, "red")
    expect(page.locator(".tile").first).to_contain_text("red.png")
