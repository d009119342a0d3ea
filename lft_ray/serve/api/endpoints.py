"""The routes of an endpoint: inference in every protocol, and health, status, metrics and pages.

In: an `InferenceHandler` and a `Service`. Out: the `Route` table with its handlers and descriptions.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Any

from lft_ray.serve.api.openapi import document
from lft_ray.serve.http.asgi import MAX_BODY_BYTES, Request, Response
from lft_ray.serve.http.errors import HttpError, busy
from lft_ray.serve.http.metrics import MEDIA_TYPE
from lft_ray.serve.http.pages import DOCS, UI, Page
from lft_ray.serve.http.router import Route
from lft_ray.serve.protocols import hf, kserve, tei, vllm
from lft_ray.serve.protocols.base import Protocol, check_model
from lft_ray.serve.protocols.forms import TEXTS, Form, form_of
from lft_ray.serve.protocols.inference import MAX_BATCH, InferenceHandler
from lft_ray.serve.rollout.service import NotReady, Service
from lft_ray.wire import AnswerRequest, Info, LabelScore, PredictPairsRequest, PredictRequest, SpanAnswer

__all__ = ["inference_routes", "status_routes"]

_STATUSES = (200, 400, 408, 413, 415, 422, 503)
_LIMITS = (
    f"At most {MAX_BATCH} texts and {MAX_BODY_BYTES} bytes per request. A text that is longer than the model's "
    "max_length (see /info) is truncated, and the header x-truncated lists the indexes of those texts, from 0; "
    "x-no-tokens lists those in which the model reads nothing."
)
_LIMITS_OF_QUESTIONS = (
    f"At most {MAX_BATCH} questions and {MAX_BODY_BYTES} bytes per request. A long context is read in windows; of one "
    "that is longer than the model reads the end is left out, and the header x-truncated lists the indexes of those "
    "questions, from 0; x-no-tokens lists those of whose context the model reads nothing. start and end count "
    "characters (Unicode code points) of the context; an empty answer says that the context has none."
)
_ANSWERS: dict[str, Any] = {
    "request": AnswerRequest,
    "example": hf.QUESTIONS_EXAMPLE,
    "response": SpanAnswer | list[SpanAnswer] | list[list[SpanAnswer]],
    "description": _LIMITS_OF_QUESTIONS,
}
_LABELS = list[list[LabelScore]]
_PAIRS: dict[str, Any] = {"request": PredictPairsRequest, "example": hf.PAIRS_EXAMPLE}


def inference_routes(inference: InferenceHandler) -> list[Route]:
    """Routes that run the model, one or more for each protocol."""

    def post(path: str, protocol: Protocol, **options: Any) -> Route:
        async def handler(request: Request) -> Response:
            return await inference.handle_http(protocol, request)

        options = {"statuses": _STATUSES, "description": _LIMITS, **options}
        return Route("POST", path, handler, protocol=protocol.name, translate=protocol.translate, **options)

    asked = "The answer to a question, a piece of its context: Hugging Face question answering"
    task: dict[str, Any] = {"request": PredictRequest, "example": hf.EXAMPLE, "response": _LABELS}
    classify: dict[str, Any] = {"request": vllm.ClassifyRequest, "example": vllm.EXAMPLE, "response": dict[str, Any]}
    classify |= {"summary": "vLLM classification", "statuses": (*_STATUSES, 404)}
    infer: dict[str, Any] = {"request": kserve.InferRequest, "example": kserve.EXAMPLE, "response": dict[str, Any]}
    infer |= {"summary": "Open Inference Protocol (KServe, Triton)", "statuses": (*_STATUSES, 404)}
    infer["forms"] = {
        "pairs": {"request": kserve.InferPairsRequest, "example": kserve.PAIRS_EXAMPLE},
        "questions": {
            "request": kserve.InferQuestionsRequest,
            "example": kserve.QUESTIONS_EXAMPLE,
            "description": _LIMITS_OF_QUESTIONS,
        },
    }
    return [
        post(
            "/",
            hf.HF,
            operation_id="classify_hf",
            summary="Label scores of each text, best first: Hugging Face text classification",
            forms={"pairs": _PAIRS, "questions": _ANSWERS | {"operation_id": "answer_hf", "summary": asked}},
            **task,
        ),
        post(
            "/invocations",
            hf.SAGEMAKER,
            operation_id="classify_sagemaker",
            summary="As /, at the path of SageMaker",
            forms={"pairs": _PAIRS, "questions": _ANSWERS | {"operation_id": "answer_sagemaker"}},
            **task,
        ),
        post(
            "/predict",
            tei.TEI,
            operation_id="classify_tei",
            summary="text-embeddings-inference classification",
            request=tei.TeiRequest,
            example=tei.EXAMPLE,
            forms={"pairs": {"request": tei.TeiPairsRequest, "example": tei.PAIRS_EXAMPLE}},
            response=list[LabelScore] | _LABELS,
            statuses=(*_STATUSES, 424, 429),
        ),
        post("/v1/classify", vllm.VLLM, operation_id="classify_vllm", **classify),
        post("/classify", vllm.VLLM, operation_id="classify_vllm_without_v1", **classify),
        post("/v2/models/{model}/infer", kserve.KSERVE, operation_id="infer", **infer),
        post("/v2/models/{model}/versions/{version}/infer", kserve.KSERVE, operation_id="infer_version", **infer),
    ]


def status_routes(
    service: Service, metrics: Callable[[], bytes], routes: Callable[[], Sequence[Route]], *, with_keys: bool
) -> list[Route]:
    """Routes for health, model metadata, metrics, the web pages and the OpenAPI document.

    Args:
        service: the service that holds the model.
        metrics: returns the text of ``/metrics``; may block.
        routes: returns all routes of the app, for ``/openapi.json``.
        with_keys: whether the endpoint requires an API key.
    """
    status = _StatusHandlers(service)

    def form_now() -> Form:
        return form_of(service.info) if service.version else TEXTS

    async def schema(_: Request) -> Response:
        form = form_now()
        found = routes() if form is TEXTS else [route.of_form(form.key) for route in routes()]
        return _json(document(found, title=form.title, with_keys=with_keys, model=form.model))

    async def metrics_text(_: Request) -> Response:
        return Response(await asyncio.to_thread(metrics), media_type=MEDIA_TYPE)

    async def root(request: Request) -> Response:
        if "text/html" in request.header(b"accept"):
            return Response(b"", status=HTTPStatus.SEE_OTHER, headers={"location": "/ui"})
        paths = {"docs": "/docs", "openapi": "/openapi.json", "ui": "/ui", "health": "/health", "ready": "/ready"}
        return _json({"service": form_now().title, **paths})

    def page_handler(page: Page) -> Callable[[Request], Awaitable[Response]]:
        async def handler(_: Request) -> Response:
            return Response(page.body, media_type="text/html; charset=utf-8", headers=dict(page.headers))

        return handler

    def get(path: str, handler: Callable[[Request], Awaitable[Response]], summary: str, **options: Any) -> Route:
        options = {"response": dict[str, Any], "statuses": (200, 503), **options}
        return Route("GET", path, handler, summary, **options)

    as_text: dict[str, Any] = {"response": None, "statuses": (200,), "media_type": MEDIA_TYPE}
    of_model: dict[str, Any] = {"statuses": (200, 404, 503), "protocol": "kserve"}
    return [
        get("/", root, "What this is, for browsers and load balancers", statuses=(200, 303), is_public=False),
        get("/health", status.live, "The process is alive", statuses=(200,)),
        get("/ready", status.ready, "A model is ready"),
        get("/info", status.info, "The model and its limits", response=Info),
        get("/ping", status.ready, "A model is ready, at the path of SageMaker"),
        get("/metrics", metrics_text, "Prometheus metrics of all replicas", **as_text),
        get("/v1/models", status.models, "The model's names, as vLLM lists them", protocol="vllm"),
        get("/v2", status.server, "Server metadata", statuses=(200,), protocol="kserve"),
        get("/v2/health/live", status.server_live, "The process is alive", statuses=(200,), protocol="kserve"),
        get("/v2/health/ready", status.server_ready, "A model is ready", protocol="kserve"),
        get("/v2/models/{model}", status.model, "Model metadata: its tensors", **of_model),
        get("/v2/models/{model}/ready", status.model_ready, "The model is ready", **of_model),
        get("/v2/models/{model}/versions/{version}", status.model, "Model metadata: its tensors", **of_model),
        get("/v2/models/{model}/versions/{version}/ready", status.model_ready, "The model is ready", **of_model),
        get("/docs", page_handler(DOCS), "This page", is_public=False),
        get("/ui", page_handler(UI), "A page to try the model", is_public=False),
        get("/openapi.json", schema, "This document", is_public=False),
    ]


class _StatusHandlers:
    """Handlers for health and model metadata, in our own and the KServe protocol."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def live(self, _: Request) -> Response:
        return _json({"status": "live"})

    async def ready(self, request: Request) -> Response:
        version = self._info().version
        return _json({"status": "ready", "version": version} if request.is_trusted else {"status": "ready"})

    async def info(self, _: Request) -> Response:
        return Response(self._info().model_dump_json().encode())

    async def models(self, _: Request) -> Response:
        return _json(vllm.models(self._info()))

    async def server(self, _: Request) -> Response:
        return _json(kserve.server_metadata())

    async def server_live(self, _: Request) -> Response:
        return _json({"live": True})

    async def server_ready(self, _: Request) -> Response:
        self._info()
        return _json({"ready": True})

    async def model(self, request: Request) -> Response:
        return _json(kserve.metadata(request.parameters["model"], self._model(request)))

    async def model_ready(self, request: Request) -> Response:
        self._model(request)
        return _json({"name": request.parameters["model"], "ready": True})

    def _model(self, request: Request) -> Info:
        info = self._info()
        # A name may hold slashes, so a path below the model's own is taken for a name.
        if request.parameters["model"].startswith((*(f"{name}/" for name in (form_of(info).model, info.model)),)):
            raise HttpError(HTTPStatus.NOT_FOUND, "no such path: see /docs")
        check_model(request.parameters["model"], info)
        kserve.check_version(request.parameters.get("version", ""), info)
        return info

    def _info(self) -> Info:
        try:
            return self._service.info
        except NotReady:
            raise busy("no model is ready yet") from None


def _json(value: Any) -> Response:
    return Response(json.dumps(value).encode())
