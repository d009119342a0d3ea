"""The HTTP app of an endpoint. In: a `Service`. Out: an ASGI app. Knows no Ray and no model.

``POST /`` answers texts; ``GET`` ``/health`` (the process lives), ``/ready`` (a model answers), ``/info``, ``/docs``
and ``/openapi.json``. Bad input is a 4xx with a reason, whatever it is.
"""

import asyncio
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from lft_ray.engines.batching import Overloaded
from lft_ray.serve.docs_page import DOCS_CSP, DOCS_PAGE
from lft_ray.serve.gate import Gate, Refusal, error_body
from lft_ray.serve.keys import ApiKeys
from lft_ray.serve.protocols import hf
from lft_ray.serve.service import NotReady, Service
from lft_ray.serve.strict_json import BadJson
from lft_ray.wire import Answer, ErrorBody, Info, PredictRequest

__all__ = ["BODY_SECONDS", "LIMITS", "MAX_BATCH", "MAX_BODY_BYTES", "create_app"]

MAX_BODY_BYTES = 1024 * 1024
MAX_BATCH = 128
LIMITS = {"max_batch": MAX_BATCH, "max_body_bytes": MAX_BODY_BYTES}
BODY_SECONDS = 30.0
"""A client that needs longer to send its body is cut off: it would hold one of the replica's request slots."""

_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "not JSON"},
    401: {"model": ErrorBody, "description": "no valid key"},
    413: {"model": ErrorBody, "description": "too long a body or batch"},
    415: {"model": ErrorBody, "description": "not application/json"},
    422: {"model": ErrorBody, "description": "not a valid request"},
    503: {"model": ErrorBody, "description": "too busy or not ready: try again"},
}
_BODY = {"required": True, "content": {"application/json": {"schema": {}, "example": hf.EXAMPLE}}}


def create_app(service: Service, *, keys: ApiKeys | None = None, sends_request_id: bool = True) -> ASGIApp:
    """Build the app.

    Args:
        service: what answers.
        keys: bearer keys; none: everybody is let in.
        sends_request_id: False where the server around this app sets ``x-request-id`` itself, as Ray Serve does.
    """
    app = FastAPI(
        docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False, title="Text classification endpoint"
    )
    app.add_api_route("/health", _health, methods=["GET"], summary="The process lives")
    _add_predict(app, service)
    _add_status(app, service)
    _add_docs(app)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _failed)
    return Gate(app, keys=keys or ApiKeys(), version=lambda: service.version, sends_request_id=sends_request_id)


async def _health() -> dict[str, str]:
    return {"status": "live"}


def _add_predict(app: FastAPI, service: Service) -> None:
    async def predict(request: Request) -> Response:
        wanted = await _read(request)
        parameters = wanted.parameters
        try:
            answer, version = await service.answer(
                wanted.texts,
                top_k=parameters.top_k if parameters else None,
                function=parameters.function_to_apply if parameters else None,
                key=request.scope["state"]["request_id"],
            )
        except Overloaded:
            raise _busy("the queue is full") from None
        except NotReady:
            raise _busy("no model is ready yet") from None
        # The model may have been replaced meanwhile, so the header names the one that answered.
        headers = {"x-model-version": version}
        return Response(hf.write_answer(answer), media_type="application/json", headers=headers)

    app.add_api_route(
        "/",
        predict,
        methods=["POST"],
        response_model=Answer,
        responses=_ERRORS,
        openapi_extra={"requestBody": _BODY},
        summary="Label scores of each text, best first",
        description=f"At most {MAX_BATCH} texts and {MAX_BODY_BYTES} bytes a request. A text that is longer than the "
        "model's max_length (see /info) is cut to it.",
    )


def _add_status(app: FastAPI, service: Service) -> None:
    async def ready() -> dict[str, str]:
        if not service.version:
            raise _busy("no model is ready yet")
        return {"status": "ready", "version": service.version}

    async def info() -> Info:
        try:
            return service.info
        except NotReady:
            raise _busy("no model is ready yet") from None

    app.add_api_route("/ready", ready, methods=["GET"], summary="A model answers", responses={503: _ERRORS[503]})
    app.add_api_route("/info", info, methods=["GET"], summary="The model and its limits", responses={503: _ERRORS[503]})


def _add_docs(app: FastAPI) -> None:
    async def docs() -> HTMLResponse:
        return HTMLResponse(DOCS_PAGE, headers={"content-security-policy": DOCS_CSP})

    async def openapi() -> JSONResponse:
        return JSONResponse(_schema(app))

    app.add_api_route("/docs", docs, methods=["GET"], include_in_schema=False)
    app.add_api_route("/openapi.json", openapi, methods=["GET"], include_in_schema=False)


def _schema(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
        request = PredictRequest.model_json_schema(ref_template="#/components/schemas/{model}")
        components = schema.setdefault("components", {}).setdefault("schemas", {})
        components |= request.pop("$defs", {}) | {"PredictRequest": request}
        content = schema["paths"]["/"]["post"]["requestBody"]["content"]["application/json"]
        content["schema"] = {"$ref": "#/components/schemas/PredictRequest"}
        app.openapi_schema = schema
    return app.openapi_schema


async def _read(request: Request) -> PredictRequest:
    _check_headers(request)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await _read_body(request)
    except TimeoutError:
        message = f"the body did not arrive within {BODY_SECONDS:.0f} s"
        raise Refusal(HTTPStatus.REQUEST_TIMEOUT, message, headers={"connection": "close"}) from None
    try:
        wanted = hf.read_request(body)
    except BadJson as error:
        raise Refusal(error.status, str(error)) from None
    if len(wanted.texts) > MAX_BATCH:
        message = f"{len(wanted.texts)} texts are over the limit of {MAX_BATCH} texts a request"
        raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)
    return wanted


def _check_headers(request: Request) -> None:
    kind, _, rest = request.headers.get("content-type", "").partition(";")
    charset = rest.replace(" ", "").replace('"', "").lower()
    if kind.strip().lower() != "application/json" or charset not in ("", "charset=utf-8"):
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the content-type must be application/json in UTF-8")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a content-encoding is not accepted: send plain JSON")
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length[:20]) > MAX_BODY_BYTES:
        raise _too_large()


async def _read_body(request: Request) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise _too_large()
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large() -> Refusal:
    message = f"the body is over the limit of {MAX_BODY_BYTES} bytes"
    # What is left of the body is not read, so the connection cannot be used again.
    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message, headers={"connection": "close"})


def _busy(message: str) -> Refusal:
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, message, headers={"retry-after": "1"})


def _answer_error(request: Request, refusal: Refusal) -> Response:
    body = error_body(refusal.status, refusal.message, request.scope["state"]["request_id"])
    return Response(body, status_code=refusal.status, headers=refusal.headers, media_type="application/json")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)  # the only kind this handler is added for
    return _answer_error(request, error)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    messages = {404: "there is no such path: see /docs", 405: "this path does not take that method: see /docs"}
    message = messages.get(error.status_code, "the request cannot be answered")
    return _answer_error(request, Refusal(error.status_code, message, headers=dict(error.headers or {})))


async def _gone(request: Request, _: Exception) -> Response:
    return _answer_error(request, Refusal(HTTPStatus.BAD_REQUEST, "the client left before its body had arrived"))


async def _failed(request: Request, _: Exception) -> Response:
    # The traceback goes to the log (see Gate), never to the client.
    return _answer_error(request, Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error, see the server's log"))
