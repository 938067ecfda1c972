from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.slow

Open = Callable[..., Page]
MARKUP = "<img src=x onerror=alert(1)>"


def _segment(page: Page, photo: Path, labels: str = "red, green, blue") -> None:
    page.set_input_files("#file", photo)
    page.fill("#label-input", labels)
    page.click("#run")
    page.wait_for_selector("#regions:visible")
    page.wait_for_selector("#classes:visible")
    expect(page.locator("#run")).to_be_enabled()


def _overlay_alpha(page: Page, across: float) -> int:
    """Return the opacity of the overlay, 0 to 255, half way down."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))")
    script = """(across) => {
      const canvas = document.getElementById("overlay");
      const [x, y] = [across * canvas.width, canvas.height / 2];
      return canvas.getContext("2d").getImageData(x, y, 1, 1).data[3];
    }"""
    return int(page.evaluate(script, across))


def test_a_picture_and_labels_give_regions_and_bars(open_page: Open, photo: Path) -> None:
    page = open_page()
    _segment(page, photo)
    rows = page.locator("#region-list li")
    expect(rows).to_have_count(3)
    shares = {row.split("\n")[0]: row.split("\n")[-1] for row in rows.all_inner_texts()}
    assert shares["green"] == "0.0%"
    assert 45 < float(shares["red"].rstrip("%")) < 55
    expect(page.locator("#bar-list li")).to_have_count(3)


def test_the_label_under_the_pointer_is_shown(open_page: Open, photo: Path) -> None:
    page = open_page()
    _segment(page, photo)
    box = page.locator("#viewer").bounding_box()
    assert box is not None
    for across, label in ((0.25, "red"), (0.75, "blue")):
        page.mouse.move(box["x"] + across * box["width"], box["y"] + 0.5 * box["height"])
        expect(page.locator("#tip")).to_have_text(label)


def test_opacity_and_toggles_change_the_overlay(open_page: Open, photo: Path) -> None:
    page = open_page()
    _segment(page, photo)
    assert abs(_overlay_alpha(page, 0.25) - 140) < 3
    page.locator("#opacity").fill("20")
    assert abs(_overlay_alpha(page, 0.25) - 51) < 3
    page.get_by_role("checkbox", name="red").uncheck()
    assert abs(_overlay_alpha(page, 0.75) - 51) < 3  # the pointer is on a hidden label: none dims
    page.mouse.move(0, 0)
    assert _overlay_alpha(page, 0.25) == 0
    assert _overlay_alpha(page, 0.75) > 0
    page.get_by_role("button", name="None").click()
    assert _overlay_alpha(page, 0.75) == 0


def test_windows_can_be_chosen_and_progress_is_told(open_page: Open, photo: Path) -> None:
    page = open_page()
    page.evaluate("""() => {
      window.said = [];
      const text = document.getElementById("progress-text");
      new MutationObserver(() => window.said.push(text.textContent))
        .observe(text, { childList: true, characterData: true, subtree: true });
    }""")
    page.get_by_text("Windows").click()
    _segment(page, photo, "red, blue")
    assert any("Looking" in one or "View 1 of" in one for one in page.evaluate("window.said"))
    expect(page.locator("#progress")).to_be_hidden()


def test_everything_works_by_keyboard(open_page: Open, photo: Path) -> None:
    page = open_page()
    page.set_input_files("#file", photo)
    expect(page.locator("#label-input")).to_be_focused()
    page.keyboard.type("red,green")
    page.keyboard.press("Enter")
    page.keyboard.press("Backspace")
    expect(page.locator(".chip")).to_have_count(1)
    page.keyboard.type("blue")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    page.wait_for_selector("#regions:visible")
    page.locator("#viewer").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#status")).to_have_text("red")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(page.locator("#status")).to_have_text("blue")
    page.locator("#tab-analyse").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#panel-search")).to_be_visible()
    expect(page.locator("#tab-search")).to_be_focused()


def test_labels_are_text_whatever_is_in_them(open_page: Open, photo: Path) -> None:
    page = open_page()
    _segment(page, photo, f"red, {MARKUP}")
    assert page.locator("#region-list img, #bar-list img, .chip img").count() == 0
    expect(page.locator("#region-list")).to_contain_text(MARKUP)
    expect(page.locator("#bar-list")).to_contain_text(MARKUP)


def test_errors_are_said_in_words(open_page: Open, photo: Path, tmp_path: Path) -> None:
    page = open_page()
    alert = page.get_by_role("alert")
    page.click("#run")
    expect(alert).to_contain_text("Choose a picture first")
    (tmp_path / "bad.jpg").write_bytes(b"nothing")
    page.set_input_files("#file", tmp_path / "bad.jpg")
    expect(alert).to_contain_text("bad.jpg” is not a picture")
    page.set_input_files("#file", photo)
    expect(alert).to_be_hidden()
    page.click("#run")
    expect(alert).to_contain_text("at least one label")
    page.get_by_label("Dismiss this message").click()
    expect(alert).to_be_hidden()


def test_a_refusal_of_the_server_is_said_in_words(open_page: Open, photo: Path) -> None:
    page = open_page()
    page.set_input_files("#file", photo)
    page.fill("#label-input", "red, a |")
    page.click("#run")
    expect(page.get_by_role("alert")).to_contain_text("labels: number 2 is empty")


def test_a_picture_can_be_dropped(open_page: Open, photo: Path) -> None:
    page = open_page()
    script = """async (bytes) => {
      const file = new File([new Uint8Array(bytes)], "photo.png", { type: "image/png" });
      const transfer = new DataTransfer();
      transfer.items.add(file);
      document.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, cancelable: true }));
    }"""
    page.evaluate(script, list(photo.read_bytes()))
    expect(page.locator("#viewer")).to_be_visible()


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_needs_no_sideways_scrolling(open_page: Open, photo: Path, dark: bool) -> None:
    page = open_page(size=(360, 740), dark=dark)
    _segment(page, photo, "red, blue, a rather long label that does not fit on a line of a phone")
    for tab in ("#tab-analyse", "#tab-search"):
        page.click(tab)
        assert page.evaluate("document.documentElement.scrollWidth") == 360
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(16, 19, 22)") == dark


def test_every_control_has_a_name(open_page: Open, photo: Path) -> None:
    page = open_page()
    _segment(page, photo)
    script = """() => [...document.querySelectorAll("button, input, [role=img]")]
      .filter((one) => !(one.ariaLabel || one.textContent.trim() || one.labels?.length))
      .map((one) => one.outerHTML)"""
    assert page.evaluate(script) == []
