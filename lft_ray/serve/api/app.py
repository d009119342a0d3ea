"""The HTTP app of an endpoint. In: a `Service`. Out: a plain ASGI app. Knows no Ray and no model.

Every protocol of ``protocols/`` on one app, each at its own paths; beside them health, readiness, metrics, and two
pages that need no other host. Bad input is a 4xx with a reason, whatever it is.
"""

import logging
import time
from collections.abc import Callable
from http import HTTPStatus

from starlette.types import Receive, Scope, Send

from lft_ray.serve.api.endpoints import asking_routes, status_routes
from lft_ray.serve.http.asgi import BODY_SECONDS, MAX_BODY_BYTES, ClientDisconnected, Request, Response, send_response
from lft_ray.serve.http.auth import ApiKeys
from lft_ray.serve.http.errors import HttpError, check_key, error_body
from lft_ray.serve.http.metrics import Metrics
from lft_ray.serve.http.router import Route, Table
from lft_ray.serve.protocols.inference import MAX_BATCH, InferenceHandler
from lft_ray.serve.rollout.service import NotReady, Service
from lft_ray.wire import Info

__all__ = ["BODY_SECONDS", "LIMITS", "MAX_BATCH", "MAX_BODY_BYTES", "App", "create_app"]

logger = logging.getLogger("lft_ray.serve")

LIMITS = {"max_batch": MAX_BATCH, "max_body_bytes": MAX_BODY_BYTES}


def create_app(service: Service, *, keys: ApiKeys | None = None, sends_request_id: bool = True) -> "App":
    """Build the app.

    Args:
        service: what answers.
        keys: bearer keys; none: everybody is let in.
        sends_request_id: False where the server around this app sets ``x-request-id`` itself, as Ray Serve does.
    """
    keys = keys or ApiKeys()

    def info() -> Info | None:
        try:
            return service.info
        except NotReady:
            return None

    metrics = Metrics(lambda: service.current.queued if service.version else 0, info)
    answering = InferenceHandler(service)
    routes: list[Route] = []
    routes += asking_routes(answering)
    routes += status_routes(service, metrics, lambda: routes, with_keys=bool(keys))
    return App(
        Table(routes), keys=keys, metrics=metrics, version=lambda: service.version, sends_request_id=sends_request_id
    )


class App:
    """The ASGI app.

    Args:
        table: what there is.
        keys: who is let in.
        metrics: where exchanges are counted.
        version: returns the version of the model that answers, for the header ``x-model-version``.
        sends_request_id: set ``x-request-id`` on answers. Ray Serve sets the header itself, and two would clash.
    """

    def __init__(
        self, table: Table, *, keys: ApiKeys, metrics: Metrics, version: Callable[[], str], sends_request_id: bool
    ) -> None:
        self._table = table
        self._keys = keys
        self._metrics = metrics
        self._version = version
        self._sends_request_id = sends_request_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request."""
        if scope["type"] == "http":
            await self._exchange(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _lifespan(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000, "reason": "there are no websockets here"})

    async def _exchange(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = time.perf_counter()
        incoming = Request(scope, receive)
        protocol = "none"
        try:
            check_key(self._keys, scope["path"], lambda: incoming.header(b"authorization"))
            route, incoming.parameters = self._table.find(scope["method"], scope["path"])
            protocol = route.protocol
            reply = await self._reply(route, incoming)
        except HttpError as refusal:
            reply = _refused(refusal, incoming)
        except ClientDisconnected:
            reply = _refused(HttpError(HTTPStatus.BAD_REQUEST, "the client left before its body had arrived"), incoming)
        await send_response(send, reply, more=self._headers(reply, incoming), with_body=scope["method"] != "HEAD")
        seconds = time.perf_counter() - begun
        self._metrics.count(protocol, reply.status, seconds, texts=reply.texts, cut=reply.cut)

    async def _reply(self, route: Route, incoming: Request) -> Response:
        try:
            return await route.handler(incoming)
        except HttpError as refusal:
            return _refused(route.translate(refusal), incoming)
        except ClientDisconnected:
            raise
        except Exception:
            # The traceback goes to the log, never to the client.
            logger.exception("request %s failed", incoming.request_id)
            failure = HttpError(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error, see the server's log")
            return _refused(route.translate(failure), incoming)

    def _headers(self, reply: Response, incoming: Request) -> list[tuple[bytes, bytes]]:
        # The model may have been replaced meanwhile, so a reply may name the one that gave it.
        version = reply.version or self._version()
        headers = [(b"x-model-version", version.encode())]
        if self._sends_request_id:
            headers.append((b"x-request-id", incoming.request_id.encode()))
        return headers


def _refused(refusal: HttpError, incoming: Request) -> Response:
    return Response(error_body(refusal, incoming.request_id), status=refusal.status, headers=refusal.headers)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
