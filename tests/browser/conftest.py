"""A real headless Chromium against a server in this process, with the encoder of colours."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from dinotxt.config import load_config
from dinotxt.inference.encoder import Encoder
from dinotxt.search.index import ImageIndex
from dinotxt.serving.app import create_app
from dinotxt.serving.config import ServeConfig

_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
Open = Callable[..., Page]


@contextmanager
def _serve(encoder: Encoder, index: ImageIndex | None, token: str | None) -> Iterator[str]:
    config = load_config(ServeConfig, {"token": token})
    app = create_app(encoder, config, index=index)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server does not start"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}/"
    server.should_exit = True
    thread.join(20)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if _CHROMIUM is None:
        pytest.skip("Chromium is not installed: `apt-get install chromium`.")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=_CHROMIUM, args=list(_OPTIONS))
        yield browser
        browser.close()


@pytest.fixture
def album(pictures: dict[str, Path]) -> Path:
    """The plain pictures and one whose name is markup."""
    folder = pictures["red"].parent
    shutil.copy(pictures["green"], folder / "<img src=x onerror=alert(1)>.png")
    return folder


@pytest.fixture
def open_page(
    chromium: Browser, colour_encoder: Encoder, album: Path, tmp_path: Path
) -> Iterator[Open]:
    """Open the page; any message on its console and any request elsewhere fails the test."""
    with ExitStack() as stack:
        complaints: list[str] = []

        def note(message: ConsoleMessage) -> None:
            if message.type in {"error", "warning"} and "status of 4" not in message.text:
                complaints.append(message.text)

        def stay_here(asked: str, url: str) -> None:
            if not asked.startswith((url, "blob:")):
                complaints.append(asked)

        def start(
            *,
            indexed: bool = True,
            token: str | None = None,
            size: tuple[int, int] = (1280, 800),
            dark: bool = False,
        ) -> Page:
            index = None
            if indexed:
                index = ImageIndex.build(colour_encoder, album, tmp_path / "album.index")
            url = stack.enter_context(_serve(colour_encoder, index, token))
            context = chromium.new_context(
                viewport={"width": size[0], "height": size[1]},
                color_scheme="dark" if dark else "light",
                reduced_motion="reduce",
            )
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(20_000)
            page.on("console", note)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("request", lambda request: stay_here(request.url, url))
            page.on("dialog", lambda dialog: complaints.append(dialog.message))
            page.goto(url)
            if token is None:
                page.wait_for_selector("html[data-ready]")
            return page

        yield start
        assert complaints == []


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture of 400x300 pixels: red on the left, blue on the right."""
    pixels = np.zeros((300, 400, 3), dtype=np.uint8)
    pixels[:, :200, 0] = pixels[:, 200:, 2] = 255
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    return path
