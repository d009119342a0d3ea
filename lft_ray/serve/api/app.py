"""The HTTP application of an endpoint. In: a `Service`. Out: an ASGI app. Knows no Ray and no model.

Serves every protocol of ``protocols/`` at its own paths, and health, readiness, metrics and two web pages that load
nothing from another host. Any invalid input is a 4xx with a reason, never a 5xx.
"""

import logging
import time
from collections.abc import Callable
from http import HTTPStatus

from starlette.types import Receive, Scope, Send

from lft_ray.serve.api.endpoints import inference_routes, status_routes
from lft_ray.serve.http.asgi import BODY_SECONDS, MAX_BODY_BYTES, ClientDisconnected, Request, Response, send_response
from lft_ray.serve.http.auth import ApiKeys
from lft_ray.serve.http.errors import HttpError, check_key, error_body
from lft_ray.serve.http.metrics import Metrics
from lft_ray.serve.http.router import Route, Router
from lft_ray.serve.protocols.inference import MAX_BATCH, InferenceHandler
from lft_ray.serve.rollout.service import NotReady, Service
from lft_ray.wire import Info

__all__ = ["BODY_SECONDS", "LIMITS", "MAX_BATCH", "MAX_BODY_BYTES", "App", "create_app", "metrics_of"]

logger = logging.getLogger("lft_ray.serve")

LIMITS = {"max_batch": MAX_BATCH, "max_body_bytes": MAX_BODY_BYTES}
"""Limits of a request, as `/info` lists them."""


def metrics_of(service: Service) -> Metrics:
    """Metrics of the replica that holds this service."""

    def info() -> Info | None:
        try:
            return service.info
        except NotReady:
            return None

    return Metrics(lambda: service.current.queued if service.version else 0, info)


def create_app(
    service: Service,
    *,
    keys: ApiKeys | None = None,
    sends_request_id: bool = True,
    metrics: Metrics | None = None,
    metrics_text: Callable[[], bytes] | None = None,
) -> "App":
    """Build the app.

    Args:
        service: the service that holds the model.
        keys: accepted API keys; empty or None: no authentication.
        sends_request_id: False if the server around this app sets ``x-request-id`` itself, as Ray Serve does.
        metrics: metrics of the replica, where others record in them too; None: the app's own.
        metrics_text: returns the text of ``/metrics``; None: that of ``metrics``.
    """
    keys = keys or ApiKeys()
    metrics = metrics or metrics_of(service)
    routes: list[Route] = []
    routes += inference_routes(InferenceHandler(service))
    # The route of /openapi.json describes all routes, its own list included, so it gets them when it is called.
    routes += status_routes(service, metrics_text or metrics.text, lambda: routes, with_keys=bool(keys))
    return App(
        Router(routes), keys=keys, metrics=metrics, version=lambda: service.version, sends_request_id=sends_request_id
    )


class App:
    """The ASGI app.

    Args:
        router: the routes.
        keys: accepted API keys.
        metrics: metrics that every request is recorded in.
        version: returns the version of the current model, for the header ``x-model-version``.
        sends_request_id: set ``x-request-id`` on responses. Ray Serve sets the header itself, and two would clash.
    """

    def __init__(
        self, router: Router, *, keys: ApiKeys, metrics: Metrics, version: Callable[[], str], sends_request_id: bool
    ) -> None:
        self._router = router
        self._keys = keys
        self._metrics = metrics
        self._version = version
        self._sends_request_id = sends_request_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection: an HTTP request or the lifespan; websockets are closed."""
        if scope["type"] == "http":
            await self._handle(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _lifespan(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000, "reason": "websockets are not supported"})

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        started_at = time.perf_counter()
        request = Request(scope, receive)
        protocol = "none"
        try:
            method, path = scope["method"], scope["path"]
            request.is_trusted = check_key(self._keys, method, path, lambda: request.header(b"authorization"))
            route, request.parameters = self._router.find(method, path)
            protocol = route.protocol
            response = await self._call(route, request)
        except HttpError as error:
            response = _error_response(error, request)
        except ClientDisconnected:
            left = HttpError(HTTPStatus.BAD_REQUEST, "the client disconnected before its body had arrived")
            response = _error_response(left, request)
        headers = self._headers(response, request)
        await send_response(send, response, extra_headers=headers, with_body=scope["method"] != "HEAD")
        seconds = time.perf_counter() - started_at
        self._metrics.count(protocol, response.status, seconds, texts=response.texts, truncated=response.truncated)

    async def _call(self, route: Route, request: Request) -> Response:
        try:
            return await route.handler(request)
        except HttpError as error:
            return _error_response(route.translate(error), request)
        except ClientDisconnected:
            raise
        except Exception:
            # The traceback goes to the log, never to the client.
            logger.exception("request %s failed", request.request_id)
            failure = HttpError(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error, see the server's log")
            return _error_response(route.translate(failure), request)

    def _headers(self, response: Response, request: Request) -> list[tuple[bytes, bytes]]:
        # The model may have been replaced since, so an inference response names the version that produced it.
        version = response.version or self._version()
        headers = [(b"x-model-version", version.encode())] if request.is_trusted else []
        if self._sends_request_id:
            headers.append((b"x-request-id", request.request_id.encode()))
        return headers


def _error_response(error: HttpError, request: Request) -> Response:
    return Response(error_body(error, request.request_id), status=error.status, headers=error.headers)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
