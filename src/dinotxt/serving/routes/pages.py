"""The web page: files of the package, read once, each by its own name."""

import hashlib
from importlib.resources import files

from fastapi import APIRouter, Request, Response

from dinotxt.serving.errors import ApiError

router = APIRouter(include_in_schema=False)

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def _read() -> dict[str, tuple[bytes, str]]:
    """Return the content and the type of each file."""
    found = {}
    for item in files("dinotxt.serving").joinpath("static").iterdir():
        suffix = item.name[item.name.rfind(".") :]
        if suffix in _TYPES:
            found[item.name] = (item.read_bytes(), _TYPES[suffix])
    return found


_FILES = _read()


@router.get("/")
async def page(request: Request) -> Response:
    """Return the page."""
    return _file(request, "index.html")


@router.get("/static/{name}")
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
