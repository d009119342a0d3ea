"""HTTP requests and responses on ASGI. In: an ASGI scope. Out: a body read within limits, or an `HttpError`.

Knows no routes and no model.
"""

import asyncio
from dataclasses import dataclass, field
from http import HTTPStatus

from starlette.types import Receive, Scope, Send

from lft_ray.serve.http.errors import HttpError, request_id

__all__ = ["BODY_SECONDS", "MAX_BODY_BYTES", "ClientDisconnected", "Request", "Response", "send_response"]

MAX_BODY_BYTES = 1024 * 1024
"""A longer body is refused with 413 before it has been read in full."""
BODY_SECONDS = 30.0
"""A client that takes longer to send its body gets a 408: it would occupy one of the replica's request slots."""

JSON = "application/json"
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "ascii", ""})
"""ASCII is UTF-8 too; an empty name says nothing."""


class ClientDisconnected(Exception):
    """The client disconnected before its body had arrived."""


@dataclass(slots=True)
class Response:
    """An HTTP response, and what the metrics record of it."""

    body: bytes
    status: int = 200
    media_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    texts: int = 0
    """Number of texts classified, for the metrics."""
    truncated: int = 0
    """Number of these texts that were truncated, for the metrics."""
    version: str = ""
    """Version of the model that produced the response; empty: the current one."""


class Request:
    """An HTTP request.

    Args:
        scope: ASGI connection scope of type ``http``.
        receive: ASGI callable that returns the parts of the body.
    """

    __slots__ = ("_receive", "headers", "is_trusted", "parameters", "request_id")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.parameters: dict[str, str] = {}
        """Path parameters of the route, set by the app."""
        # Of two ids the first: the server around this app returns it, and both must name the same request.
        first = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        self.request_id = request_id(first.decode("latin-1"))
        """Safe to log and to return to the client."""
        self.is_trusted = False
        """Whether the client may know the version of the model, set by the app."""
        self._receive = receive

    def header(self, name: bytes) -> str:
        """Value of a header, or an empty string. The name must be in lower case."""
        return self.headers.get(name, b"").decode("latin-1")

    async def read_body(self, media_types: frozenset[str]) -> bytes:
        """Read the body.

        Args:
            media_types: accepted media types; an empty string accepts a request without a content-type.

        Raises:
            HttpError: 408, 413 or 415.
            ClientDisconnected: the client has gone.
        """
        self._check_headers(media_types)
        try:
            async with asyncio.timeout(BODY_SECONDS):
                return await self._chunks()
        except TimeoutError:
            message = f"the body did not arrive within {BODY_SECONDS:.0f} s"
            raise HttpError(HTTPStatus.REQUEST_TIMEOUT, message, headers={"connection": "close"}) from None

    async def _chunks(self) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnected
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                raise _too_large()
            chunks.append(chunk)
            if not message.get("more_body", False):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _check_headers(self, media_types: frozenset[str]) -> None:
        # Nearly every request says exactly this, and the comparison is cheaper than parsing the header.
        given = self.headers.get(b"content-type", b"")
        if given != b"application/json" or JSON not in media_types:
            _check_type(given.decode("latin-1"), media_types)
        if self.header(b"content-encoding").strip().lower() not in ("", "identity"):
            raise HttpError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "content-encoding is not supported: send the body uncompressed"
            )
        length = self.headers.get(b"content-length", b"")
        if length.isdigit() and int(length[:20]) > MAX_BODY_BYTES:
            raise _too_large()


def _check_type(given: str, media_types: frozenset[str]) -> None:
    kind, *parameters = given.split(";")
    # Other parameters have no meaning for JSON, and RFC 9110 has them ignored.
    pairs = (parameter.replace('"', "").strip().lower().partition("=") for parameter in parameters)
    charsets = {value.strip() for name, _, value in pairs if name.strip() == "charset"}
    if kind.strip().lower() not in media_types or charsets - _CHARSETS:
        raise HttpError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the content-type must be application/json in UTF-8")


def _too_large() -> HttpError:
    message = f"the body is over the limit of {MAX_BODY_BYTES} bytes"
    # The rest of the body is left unread, so the connection cannot be reused.
    return HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message, headers={"connection": "close"})


async def send_response(
    send: Send, response: Response, *, extra_headers: list[tuple[bytes, bytes]], with_body: bool = True
) -> None:
    """Send a response.

    Args:
        send: ASGI callable.
        response: the response to send.
        extra_headers: headers that are the same on every response.
        with_body: False for HEAD.
    """
    of_body = [
        (b"content-type", response.media_type.encode()),
        (b"content-length", str(len(response.body)).encode()),
    ]
    headers = [
        *(of_body if response.status != HTTPStatus.NO_CONTENT else ()),  # RFC 9110 forbids a length of no content
        *extra_headers,
        *((name.encode(), value.encode("latin-1")) for name, value in response.headers.items()),
    ]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body if with_body else b""})
