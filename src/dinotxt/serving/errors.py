"""Errors as the client sees them: a status, a code for programs and a sentence for people."""

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from dinotxt.errors import BackendError, DinotxtError

_LOGGER = logging.getLogger(__name__)
_CODES = {
    400: "malformed",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "client_too_slow",
    413: "too_large",
    421: "wrong_host",
    422: "unusable",
    429: "queue_full",
    500: "internal",
    503: "unavailable",
    504: "took_too_long",
}
_RETRY_SECONDS = {429: "1", 503: "2"}


class ApiError(HTTPException):
    """A refusal that the client should see.

    Args:
        status: The HTTP status.
        message: A sentence that names the fix.
    """

    def __init__(self, status: int, message: str) -> None:
        retry = _RETRY_SECONDS.get(status)
        super().__init__(status, message, {"Retry-After": retry} if retry else None)


def error_content(status: int, message: str) -> dict[str, Any]:
    """Return the JSON of an error: ``{"error": {"status", "code", "message"}}``."""
    code = _CODES.get(status, "error")
    return {"error": {"status": status, "code": code, "message": message}}


def error_response(
    status: int, message: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return an error as a response."""
    return JSONResponse(error_content(status, message), status, headers)


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error that a route raises with the same JSON."""
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(DinotxtError, _on_user_error)


async def _on_http_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return error_response(error.status_code, str(error.detail), error.headers)


async def _on_invalid_request(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    problems = [_describe(problem) for problem in error.errors()[:5]]
    return error_response(422, "; ".join(problems))


async def _on_user_error(_request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, BackendError):  # such as a database: what it says is not for clients
        _LOGGER.error("%s", error)
        return error_response(503, "A part of this server does not answer: try again later.")
    return error_response(422, str(error))


def _describe(problem: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in problem["loc"] if part != "body") or "body"
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "json_invalid":
        return "body: this is not valid JSON."
    if problem["type"] == "missing":
        return f"{place}: this field is missing."
    if "UploadFile" in message:
        return f"{place}: send a file in this field, not text or an address."
    return f"{place}: {message}"
