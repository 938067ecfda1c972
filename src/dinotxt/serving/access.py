"""Who may talk to the server: the Host header, other web sites and the bearer token."""

import secrets

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from dinotxt.serving.config import ServeConfig
from dinotxt.serving.errors import ApiError, error_response

_PROTECTED = ("/v1/", "/metrics")


class Access:
    """ASGI middleware that refuses strangers.

    Args:
        app: What answers the requests.
        config: Names the accepted hosts and the token.
    """

    def __init__(self, app: ASGIApp, *, config: ServeConfig) -> None:
        self.app = app
        self._hosts = config.accepted_hosts
        self._token = config.token.get_secret_value().encode() if config.token else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through or refuse it."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self.app(scope, receive, send)
            return
        headers = {"WWW-Authenticate": "Bearer"} if refusal.status_code == 401 else None
        response = error_response(refusal.status_code, refusal.detail, headers)
        await response(scope, receive, send)

    def _refusal(self, scope: Scope) -> ApiError | None:
        headers = Headers(scope=scope)
        host = _host_name(headers.get("host", ""))
        if self._hosts is not None and host not in self._hosts:
            return ApiError(421, "This host name is not served: start with --allowed-host NAME.")
        if not scope["path"].startswith(_PROTECTED):
            return None
        if headers.get("sec-fetch-site") == "cross-site":
            return ApiError(403, "Requests from other web sites are not answered.")
        if self._token is not None and not self._knows_token(headers.get("authorization", "")):
            return ApiError(401, "A valid bearer token is needed: `Authorization: Bearer TOKEN`.")
        return None

    def _knows_token(self, header: str) -> bool:
        assert self._token is not None
        scheme, _, given = header.partition(" ")
        is_bearer = scheme.lower() == "bearer"
        return secrets.compare_digest(given.strip().encode("latin-1"), self._token) and is_bearer


def _host_name(header: str) -> str:
    """Return the name without the port; an IPv6 address without its brackets."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0].lower()
