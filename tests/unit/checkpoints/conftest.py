"""Tiny models in our format and in Meta's layouts."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from dinotxt.checkpoints.layouts import to_dinov2
from dinotxt.models.config import (
    BackboneConfig,
    ModelConfig,
    TransformerTextConfig,
    VisionHeadConfig,
)
from dinotxt.models.dinotxt import DinoTxt

WIDTH = 64


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DINOTXT_WEIGHTS", "http_proxy", "HTTP_PROXY", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def config() -> ModelConfig:
    """Both towers, tiny, in the sizes that Meta's layouts imply."""
    options = {"embed_dim": WIDTH, "depth": 1, "num_heads": 1, "img_size": 56}
    return ModelConfig(
        backbone=BackboneConfig(
            name="vit_small_patch14_reg4_dinov2", weights="random", options=options
        ),
        vision_head=VisionHeadConfig(num_blocks=2),
        text_encoder=TransformerTextConfig(width=WIDTH, layers=2, heads=1, vocab_size=500),
    )


@pytest.fixture
def model(config: ModelConfig) -> DinoTxt:
    """The model of ``config`` in eval mode."""
    return DinoTxt.from_config(config).eval()


@dataclass(frozen=True)
class MetaFiles:
    """Files in DINOv2's layout and their tensors."""

    backbone: Path
    vision_head: Path
    text_encoder: Path
    state: dict[str, Tensor]


@pytest.fixture
def meta_files(model: DinoTxt, tmp_path: Path) -> MetaFiles:
    """The model in Meta's three files."""
    backbone = dict(model.backbone.module.state_dict())
    backbone["register_tokens"] = backbone.pop("reg_token")
    backbone["pos_embed"] = torch.cat([torch.zeros(1, 1, WIDTH), backbone["pos_embed"]], dim=1)
    backbone["mask_token"] = torch.zeros(1, WIDTH)
    head, text = to_dinov2(model.trainable_state_dict())
    folder = tmp_path / "meta"
    folder.mkdir()
    save_file(backbone, folder / "backbone.safetensors")
    torch.save(head, folder / "head.pth")
    torch.save(text, folder / "text.pth")
    return MetaFiles(
        folder / "backbone.safetensors",
        folder / "head.pth",
        folder / "text.pth",
        model.trainable_state_dict(),
    )


@dataclass
class Site:
    """Files that a server on the loopback gives."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    cut: int | None = None


@pytest.fixture
def site() -> Iterator[Site]:
    """A web server on the loopback."""
    current = Site("")

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, *, with_body: bool) -> None:
            current.requests.append(self.path)
            content = current.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            for key, value in current.headers.items():
                self.send_header(key, value)
            self.end_headers()
            if with_body:
                self.wfile.write(content[: current.cut])

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    current.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield current
    server.shutdown()
    server.server_close()
    thread.join()
