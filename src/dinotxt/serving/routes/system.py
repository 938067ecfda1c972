"""What the server is, whether it runs, what it counts, and the web page: files of the package."""

import hashlib
from dataclasses import asdict
from importlib.resources import files

from fastapi import APIRouter, Request, Response

from dinotxt import __version__
from dinotxt.inference.dense import MODES
from dinotxt.serving.errors import ApiError
from dinotxt.serving.observe import CONTENT_TYPE
from dinotxt.serving.routes.fields import TheEngine, TheMetrics
from dinotxt.serving.schemas import HealthAnswer, InfoAnswer, answer, refusals
from dinotxt.text.prompt import template_sets

router = APIRouter(tags=["system"])

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@router.get("/healthz", response_model=HealthAnswer, responses=refusals())
async def healthz(engine: TheEngine) -> Response:
    """Tell that the server runs."""
    return answer(HealthAnswer(model=engine.model))


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}, **refusals()},
)
async def metrics(counters: TheMetrics) -> Response:
    """Return what the server counts, for Prometheus."""
    return Response(counters.render(), headers={"Content-Type": CONTENT_TYPE})


@router.get("/v1/info", response_model=InfoAnswer, responses=refusals())
async def info(engine: TheEngine) -> Response:
    """Tell what this server can do and what it refuses."""
    found = await engine.on_thread(engine.index_info)
    return answer(
        InfoAnswer(
            version=__version__,
            model=engine.model,
            dim=engine.encoder.embed_dim,
            modes=list(MODES),
            templates=list(template_sets()),
            default_templates=engine.default_templates,
            index=found,
            limits=asdict(engine.config.limits),
        )
    )


def _read() -> dict[str, tuple[bytes, str]]:
    """Return the content and the type of each file."""
    found = {}
    for item in files("dinotxt.serving").joinpath("static").iterdir():
        suffix = item.name[item.name.rfind(".") :]
        if suffix in _TYPES:
            found[item.name] = (item.read_bytes(), _TYPES[suffix])
    return found


_FILES = _read()


@router.get("/", include_in_schema=False)
async def page(request: Request) -> Response:
    """Return the page."""
    return _file(request, "index.html")


@router.get("/static/{name}", include_in_schema=False)
async def static(request: Request, name: str) -> Response:
    """Return a file of the page; only the names that the package holds exist."""
    return _file(request, name)


def _file(request: Request, name: str) -> Response:
    if name not in _FILES:
        raise ApiError(404, "There is no such file.")
    content, kind = _FILES[name]
    tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, headers={**headers, "Content-Type": kind})
