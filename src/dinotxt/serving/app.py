"""The application: routes, limits and the life of the model's threads."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from dinotxt import __version__
from dinotxt.inference.encoder import Encoder
from dinotxt.serving.access import Access
from dinotxt.serving.config import ServeConfig
from dinotxt.serving.engine import Engine, Searched
from dinotxt.serving.errors import add_error_handlers
from dinotxt.serving.guard import Guard
from dinotxt.serving.observe import Metrics, Observe
from dinotxt.serving.routes import predict, search, system

_DESCRIPTION = """Open-vocabulary classification, segmentation and search.

Pictures are sent as files in forms (`multipart/form-data`); an address is never fetched. Every
error is `{"error": {"status", "code", "message"}}`.
"""


def create_app(
    encoder: Encoder, config: ServeConfig | None = None, *, index: Searched | None = None
) -> FastAPI:
    """Return the ASGI application of one model.

    Args:
        encoder: The model.
        config: How to run; the host and the port are for ``run``.
        index: What ``/v1/search`` searches.
    """
    config = config or ServeConfig()
    metrics = Metrics()

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        app.state.engine = engine = Engine(encoder, config, metrics, index)
        try:
            yield
        finally:
            await engine.close()

    app = FastAPI(
        title="dinotxt",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=life,
        docs_url=None,  # these pages load their scripts from elsewhere
        redoc_url=None,
    )
    app.state.metrics = metrics
    for topic in (system, predict, search):
        app.include_router(topic.router)
    add_error_handlers(app)
    app.add_middleware(Guard, limits=config.limits, metrics=metrics)  # the last one is outermost
    app.add_middleware(Access, config=config)
    app.add_middleware(Observe, metrics=metrics)
    return app
