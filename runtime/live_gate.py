"""Who may look at the live view, and what is answered to all others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .live_access import Access, is_from_elsewhere

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp

_HEADERS = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
]


class Gate:
    """Lets through who may look."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from starlette.datastructures import QueryParams

        if scope["type"] != "http":
            return
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        token = QueryParams(scope["query_string"]).get("token")
        refusal = None
        if not self._access.is_asked_by_name(headers):
            refusal = refuse(403, "this server answers to localhost only")
        elif not self._access.knows(headers, token):
            refusal = refuse(401, "a token is needed: open http://HOST:PORT/?token=TOKEN")
        elif scope["method"] == "POST" and is_foreign(headers):
            refusal = refuse(403, "expected JSON, sent by this server's own page or a program")

        async def send_safely(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        await (refusal or self._app)(scope, receive, send_safely)


def is_foreign(headers: dict[str, str]) -> bool:
    """Whether another server's page may have made a browser send this."""
    # A browser asks before it sends JSON to another server, and is told no.
    kind = headers.get("content-type", "").split(";")[0].strip().lower()
    return kind != "application/json" or is_from_elsewhere(headers)


def refuse(status: int, text: str) -> Response:
    """An answer that says in one line why not."""
    from starlette.responses import JSONResponse

    return JSONResponse({"error": text}, status)
