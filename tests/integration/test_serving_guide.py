"""The commands of the serving guide, run against a server in this process."""

import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from dinotxt.inference.encoder import Encoder
from dinotxt.search.index import ImageIndex
from dinotxt.serving.app import create_app
from dinotxt.serving.config import ServeConfig

_GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "serving.md"
_COMMANDS = re.findall(r"^curl .*$", _GUIDE.read_text("utf-8"), flags=re.M)
_ADDRESS = "http://127.0.0.1:8000"


@pytest.fixture
def address(colour_encoder: Encoder, pictures: dict[str, Path], tmp_path: Path) -> Iterator[str]:
    folder = pictures["red"].parent
    index = ImageIndex.build(colour_encoder, folder, tmp_path / "album.index", num_workers=1)
    shutil.copy(pictures["half"], tmp_path / "photo.jpg")
    app = create_app(colour_encoder, ServeConfig(), index=index)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(20)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("command", _COMMANDS)
def test_a_command_of_the_guide_is_answered(address: str, tmp_path: Path, command: str) -> None:
    line = command.replace(_ADDRESS, address).replace("curl -s", "curl -s --fail-with-body")
    done = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, check=True)
    if "-o " in command:
        assert (tmp_path / command.rsplit("-o ")[1]).read_bytes().startswith(b"\x89PNG")
    else:
        assert json.loads(done.stdout)["model"] == "colours"


def test_the_guide_has_a_command_for_every_endpoint() -> None:
    for path in ("classify", "segment", "embed/texts", "embed/images", "search"):
        assert any(f"/v1/{path} " in command for command in _COMMANDS), path
