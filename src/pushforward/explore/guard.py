"""Checks of every request, by the name of the host and a token for changes, and headers that protect the page."""

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Application = Callable[..., Awaitable[None]]
LOOPBACK = ("127.0.0.1", "localhost")
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """An ASGI application around another.

    It answers only requests whose Host header names the loopback address and the port that they came in by: a page of
    another origin cannot read it by DNS rebinding. Where a browser says that a request comes from another site, by
    Sec-Fetch-Site, only the page itself is given: a link may lead to it. Requests that may change something need the
    header `X-Token`, which only a page of this origin can read.
    """

    def __init__(self, application: Application, token: str):
        self.application, self.token = application, token

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self.application(scope, receive, send)

        async def guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message.get("headers", ()), *added]
            await send(message)

        if fault := self._fault(scope):
            await guarded({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            return await guarded({"type": "http.response.body", "body": fault.encode()})
        return await self.application(scope, receive, guarded)

    def _fault(self, scope: MutableMapping[str, Any]) -> str:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        if not _is_here(headers.get(b"host", ""), scope["server"][1]):
            return "This server answers only to its own address, 127.0.0.1."
        if headers.get(b"sec-fetch-site", "none") not in ("same-origin", "none") and scope["path"] != "/":
            return "This server answers only to its own page."
        if scope["method"] not in ("GET", "HEAD"):
            given = headers.get(b"x-token", "").encode("latin-1")
            if not secrets.compare_digest(given, self.token.encode()):
                return "Changes need the token of the page in the header X-Token."
        return ""


def _is_here(host: str, port: int) -> bool:
    """Whether a Host header names this machine and this port, which is left out where it is 80."""
    return host.lower() in {f"{name}:{port}" for name in LOOPBACK} | ({*LOOPBACK} if port == 80 else set())
