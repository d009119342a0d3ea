"""The routes of an endpoint: those that ask the model in some protocol, and those that tell how it is."""

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from lft_ray.serve.api.openapi import document
from lft_ray.serve.http.asgi import MAX_BODY_BYTES, Request, Response
from lft_ray.serve.http.errors import busy
from lft_ray.serve.http.metrics import MEDIA_TYPE, Metrics
from lft_ray.serve.http.pages import DOCS, UI, Page
from lft_ray.serve.http.router import Route
from lft_ray.serve.protocols import hf, kserve, tei, vllm
from lft_ray.serve.protocols.base import Protocol, check_model
from lft_ray.serve.protocols.inference import MAX_BATCH, InferenceHandler
from lft_ray.serve.rollout.service import NotReady, Service
from lft_ray.wire import Info, LabelScore, Predictions, PredictRequest

__all__ = ["TITLE", "asking_routes", "status_routes"]

TITLE = "Text classification endpoint"
_REFUSED = (200, 400, 408, 413, 415, 422, 503)
_LIMITS = (
    f"At most {MAX_BATCH} texts and {MAX_BODY_BYTES} bytes a request. A text that is longer than the model's "
    "max_length (see /info) is cut to it, and the header x-truncated lists those texts, counted from 0."
)


def asking_routes(answering: InferenceHandler) -> list[Route]:
    """Routes that ask the model."""

    def asks(path: str, dialect: Protocol, **more: Any) -> Route:
        async def handler(incoming: Request) -> Response:
            return await answering.over_http(dialect, incoming)

        more = {"statuses": _REFUSED, "description": _LIMITS, **more}
        return Route("POST", path, handler, protocol=dialect.name, translate=dialect.translate, **more)

    task: dict[str, Any] = {"request": PredictRequest, "example": hf.EXAMPLE, "response": Predictions}
    classify: dict[str, Any] = {"request": vllm.ClassifyRequest, "example": vllm.EXAMPLE, "response": dict[str, Any]}
    classify |= {"summary": "vLLM's classification", "statuses": (*_REFUSED, 404)}
    infer: dict[str, Any] = {"request": kserve.InferRequest, "example": kserve.EXAMPLE, "response": dict[str, Any]}
    infer |= {"summary": "Open Inference Protocol (KServe, Triton)", "statuses": (*_REFUSED, 404)}
    return [
        asks("/", hf.HF, summary="Label scores of each text, best first: Hugging Face's text-classification", **task),
        asks("/invocations", hf.SAGEMAKER, summary="The same as /, where SageMaker asks", **task),
        asks(
            "/predict",
            tei.TEI,
            summary="text-embeddings-inference's classification",
            request=tei.TeiRequest,
            example=tei.EXAMPLE,
            response=list[LabelScore] | Predictions,
            statuses=(*_REFUSED, 424, 429),
        ),
        asks("/v1/classify", vllm.VLLM, **classify),
        asks("/classify", vllm.VLLM, **classify),
        asks("/v2/models/{model}/infer", kserve.KSERVE, **infer),
        asks("/v2/models/{model}/versions/{version}/infer", kserve.KSERVE, **infer),
    ]


def status_routes(
    service: Service, metrics: Metrics, routes: Callable[[], Sequence[Route]], *, with_keys: bool
) -> list[Route]:
    """Routes that tell how the endpoint is and what it serves.

    Args:
        service: what answers.
        metrics: for ``/metrics``.
        routes: all routes of the app, for ``/openapi.json``.
        with_keys: whether the endpoint wants keys.
    """
    tells = _Tells(service)

    async def schema(_: Request) -> Response:
        return _json(document(routes(), title=TITLE, with_keys=with_keys))

    async def counted(_: Request) -> Response:
        return Response(metrics.text(), media_type=MEDIA_TYPE)

    def shows(page: Page) -> Callable[[Request], Awaitable[Response]]:
        async def handler(_: Request) -> Response:
            return Response(page.body, media_type="text/html; charset=utf-8", headers=dict(page.headers))

        return handler

    def get(path: str, handler: Callable[[Request], Awaitable[Response]], summary: str, **more: Any) -> Route:
        return Route("GET", path, handler, summary, **{"response": dict[str, Any], "statuses": (200, 503), **more})

    of_model: dict[str, Any] = {"statuses": (200, 404, 503), "protocol": "kserve"}
    return [
        get("/health", tells.live, "The process lives", statuses=(200,)),
        get("/ready", tells.ready, "A model answers"),
        get("/info", tells.info, "The model and its limits", response=Info),
        get("/ping", tells.ready, "A model answers: where SageMaker asks"),
        get("/metrics", counted, "Counters of this replica, for Prometheus", response=None, statuses=(200,)),
        get("/v2", tells.server, "The server", statuses=(200,), protocol="kserve"),
        get("/v2/health/live", tells.server_live, "The process lives", statuses=(200,), protocol="kserve"),
        get("/v2/health/ready", tells.server_ready, "A model answers", protocol="kserve"),
        get("/v2/models/{model}", tells.model, "The model's tensors", **of_model),
        get("/v2/models/{model}/ready", tells.model_ready, "The model answers", **of_model),
        get("/v2/models/{model}/versions/{version}", tells.model, "The model's tensors", **of_model),
        get("/v2/models/{model}/versions/{version}/ready", tells.model_ready, "The model answers", **of_model),
        get("/docs", shows(DOCS), "This page", is_public=False),
        get("/ui", shows(UI), "A page to try the model", is_public=False),
        get("/openapi.json", schema, "This document", is_public=False),
    ]


class _Tells:
    """Handlers that tell about the service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def live(self, _: Request) -> Response:
        return _json({"status": "live"})

    async def ready(self, _: Request) -> Response:
        return _json({"status": "ready", "version": self._info().version})

    async def info(self, _: Request) -> Response:
        return Response(self._info().model_dump_json().encode())

    async def server(self, _: Request) -> Response:
        return _json(kserve.server_metadata())

    async def server_live(self, _: Request) -> Response:
        return _json({"live": True})

    async def server_ready(self, _: Request) -> Response:
        self._info()
        return _json({"ready": True})

    async def model(self, incoming: Request) -> Response:
        return _json(kserve.metadata(incoming.parameters["model"], self._model(incoming)))

    async def model_ready(self, incoming: Request) -> Response:
        self._model(incoming)
        return _json({"name": incoming.parameters["model"], "ready": True})

    def _model(self, incoming: Request) -> Info:
        info = self._info()
        check_model(incoming.parameters["model"], info)
        kserve.check_version(incoming.parameters.get("version", ""), info)
        return info

    def _info(self) -> Info:
        try:
            return self._service.info
        except NotReady:
            raise busy("no model is ready yet") from None


def _json(value: Any) -> Response:
    return Response(json.dumps(value).encode())
