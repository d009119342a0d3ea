"""One HTTP exchange on ASGI: what came in, read within limits, and what goes out. Knows no route and no model."""

import asyncio
from dataclasses import dataclass, field
from http import HTTPStatus

from starlette.types import Receive, Scope, Send

from lft_ray.serve.http.errors import HttpError, request_id

__all__ = ["BODY_SECONDS", "MAX_BODY_BYTES", "ClientDisconnected", "Request", "Response", "send_response"]

MAX_BODY_BYTES = 1024 * 1024
BODY_SECONDS = 30.0
"""A client that needs longer to send its body is cut off: it would hold one of the replica's request slots."""

JSON = "application/json"


class ClientDisconnected(Exception):
    """The client left before its body had arrived."""


@dataclass(slots=True)
class Response:
    """What goes out."""

    body: bytes
    status: int = 200
    media_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    texts: int = 0
    """Texts that were answered, for the metrics."""
    cut: int = 0
    """Texts of these whose end was cut off."""
    version: str = ""
    """Version of the model that answered; empty: of the one that would answer now."""


class Request:
    """What came in.

    Args:
        scope: ASGI's, of an HTTP request.
        receive: ASGI's.
    """

    __slots__ = ("_receive", "headers", "parameters", "request_id")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.parameters: dict[str, str] = {}
        """Parts of the path that the route names."""
        self.request_id = request_id(self.header(b"x-request-id"))
        """Safe to log and to send back."""
        self._receive = receive

    def header(self, name: bytes) -> str:
        """A header's value, or an empty string. The name is in lower case."""
        return self.headers.get(name, b"").decode("latin-1")

    async def read_body(self, media_types: frozenset[str]) -> bytes:
        """Read the body.

        Args:
            media_types: what it may be; an empty string stands for none said.

        Raises:
            Refusal: 408, 413 or 415.
            ClientGone: there is nobody left to answer.
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
        given = self.headers.get(b"content-type", b"")
        if given != b"application/json" or JSON not in media_types:
            _check_type(given.decode("latin-1"), media_types)
        if self.header(b"content-encoding").strip().lower() not in ("", "identity"):
            raise HttpError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a content-encoding is not accepted: send the body as it is"
            )
        length = self.headers.get(b"content-length", b"")
        if length.isdigit() and int(length[:20]) > MAX_BODY_BYTES:
            raise _too_large()


def _check_type(given: str, media_types: frozenset[str]) -> None:
    kind, _, rest = given.partition(";")
    charset = rest.replace(" ", "").replace('"', "").lower()
    if kind.strip().lower() not in media_types or charset not in ("", "charset=utf-8"):
        raise HttpError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the content-type must be application/json in UTF-8")


def _too_large() -> HttpError:
    message = f"the body is over the limit of {MAX_BODY_BYTES} bytes"
    # What is left of the body is not read, so the connection cannot be used again.
    return HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message, headers={"connection": "close"})


async def send_response(
    send: Send, reply: Response, *, more: list[tuple[bytes, bytes]], with_body: bool = True
) -> None:
    """Send a reply.

    Args:
        send: ASGI's.
        reply: what to send.
        more: headers that stand on every answer.
        with_body: False for HEAD.
    """
    headers = [
        (b"content-type", reply.media_type.encode()),
        (b"content-length", str(len(reply.body)).encode()),
        *more,
        *((name.encode(), value.encode("latin-1")) for name, value in reply.headers.items()),
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body if with_body else b""})
