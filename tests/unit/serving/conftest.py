from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from dinotxt.config import load_config
from dinotxt.inference.encoder import Encoder
from dinotxt.search.index import ImageIndex
from dinotxt.serving.app import create_app
from dinotxt.serving.config import RequestLimits, ServeConfig

Connect = Callable[..., TestClient]


@pytest.fixture
def connect(colour_encoder: Encoder) -> Iterator[Connect]:
    """Start a server in this process with other limits or options."""
    with ExitStack() as stack:

        def start(
            *,
            index: ImageIndex | None = None,
            limits: RequestLimits | None = None,
            **options: object,
        ) -> TestClient:
            config = load_config(
                ServeConfig, {"batch_wait": 0.0, **options, "limits": limits or RequestLimits()}
            )
            app = create_app(colour_encoder, config, index=index)
            client = TestClient(app, base_url="http://localhost", raise_server_exceptions=False)
            return stack.enter_context(client)

        yield start


@pytest.fixture
def client(connect: Connect) -> TestClient:
    """A client of a server with the default options and no index."""
    return connect()


@pytest.fixture
def index(colour_encoder: Encoder, pictures: dict[str, Path], tmp_path: Path) -> ImageIndex:
    """An index over the plain pictures."""
    folder = pictures["red"].parent
    return ImageIndex.build(colour_encoder, folder, tmp_path / "album.index", num_workers=1)
