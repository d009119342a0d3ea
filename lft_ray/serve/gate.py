"""What every request passes before a route: request id, key, and one shape for every error. Pure ASGI.

Never echoes the input and never lets a traceback out.
"""

import json
import logging
import re
import uuid
from collections.abc import Callable
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lft_ray.serve.keys import ApiKeys

__all__ = ["Gate", "Refusal", "error_body", "error_type"]

logger = logging.getLogger("lft_ray.serve")

_REQUEST_ID = re.compile(r"^[A-Za-z0-9._:-]{1,128}$")
_OPEN_PATHS = frozenset({"/health"})


class Refusal(Exception):
    """An answer that is not 2xx, with the reason for the client."""

    def __init__(self, status: int, message: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers or {}


def error_type(status: int) -> str:
    """A stable name for a status, such as ``payload_too_large``."""
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return "payload_too_large"  # Python 3.13 renamed the phrase, and clients match on this name.
    return HTTPStatus(status).phrase.lower().replace(" ", "_").replace("-", "_")


def error_body(status: int, message: str, request_id: str) -> bytes:
    """JSON of `lft_ray.wire.ErrorBody`."""
    return json.dumps({"error": message, "error_type": error_type(status), "request_id": request_id}).encode()


class Gate:
    """Outermost ASGI layer.

    Args:
        app: the app behind it.
        keys: who is let in; ``/health`` is open to all.
        version: returns the version of the model that answers, for the header ``x-model-version``.
        sends_request_id: set ``x-request-id`` on answers. Ray Serve sets the header itself, and two would clash.
    """

    def __init__(self, app: ASGIApp, *, keys: ApiKeys, version: Callable[[], str], sends_request_id: bool) -> None:
        self._app = app
        self._keys = keys
        self._version = version
        self._sends_request_id = sends_request_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": self._with_ours(message.get("headers", []), request_id)}
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            await _refuse(send_with_headers, refusal, request_id)
            return
        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:  # the app has answered 500 by now; raising on would only print a second traceback
            logger.exception("request %s failed", request_id)

    def _with_ours(self, headers: list[tuple[bytes, bytes]], request_id: str) -> list[tuple[bytes, bytes]]:
        ours = []
        if not any(name == b"x-model-version" for name, _ in headers):
            ours.append((b"x-model-version", self._version().encode()))
        if self._sends_request_id:
            ours.append((b"x-request-id", request_id.encode()))
        return [*headers, *ours]

    def _refusal(self, scope: Scope) -> Refusal | None:
        if not self._keys or scope["path"] in _OPEN_PATHS or self._keys.allow(_header(scope, b"authorization")):
            return None
        message = "a valid bearer key is needed in the Authorization header"
        return Refusal(HTTPStatus.UNAUTHORIZED, message, headers={"www-authenticate": "Bearer"})


async def _refuse(send: Send, refusal: Refusal, request_id: str) -> None:
    body = error_body(refusal.status, refusal.message, request_id)
    headers = {"content-type": "application/json", "content-length": str(len(body)), **refusal.headers}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": int(refusal.status), "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _header(scope: Scope, name: bytes) -> str:
    values: list[tuple[bytes, bytes]] = scope["headers"]
    return next((value.decode("latin-1") for key, value in values if key == name), "")


def _request_id(scope: Scope) -> str:
    given = _header(scope, b"x-request-id")
    return given if _REQUEST_ID.match(given) else uuid.uuid4().hex
