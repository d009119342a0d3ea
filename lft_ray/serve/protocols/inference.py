"""Inference in any protocol, within limits. In: a protocol, a request. Out: a `Response`, or an `HttpError`."""

import asyncio
from collections.abc import Sequence
from http import HTTPStatus

from lft_ray.engines.batching import Overloaded, UnreadableText
from lft_ray.serve.http.asgi import Request, Response
from lft_ray.serve.http.errors import HttpError, busy
from lft_ray.serve.http.strict_json import BadJson
from lft_ray.serve.model.base import ScoredTexts
from lft_ray.serve.protocols.base import MAX_BATCH, InferenceRequest, InferenceResponse, Protocol, RequestHead
from lft_ray.serve.protocols.forms import QUESTIONS
from lft_ray.serve.rollout.service import NotReady, Service
from lft_ray.wire import Info

__all__ = ["MAX_BATCH", "RESPONSE_SECONDS", "InferenceHandler", "indexes"]

RESPONSE_SECONDS = 60.0
"""A request without a result by then is dropped with a 503, and its texts leave the queue."""


class InferenceHandler:
    """Handles inference requests: reads the body, runs the model, writes the response.

    Args:
        service: the service that holds the model.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._timeout_s = RESPONSE_SECONDS

    async def handle_http(self, protocol: Protocol, request: Request) -> Response:
        """Handle an HTTP request.

        Args:
            protocol: protocol of the route.
            request: the request, whose body has not been read.

        Raises:
            HttpError: the request is invalid, or the model is not available.
        """
        body = await request.read_body(protocol.media_types)
        try:
            head = RequestHead(request.header, request.parameters, self._service.current.info)
            inference_request = protocol.read(body, head)
        except BadJson as error:
            raise HttpError(error.status, str(error)) from None
        except NotReady:
            raise busy("no model is ready yet") from None
        result = await self.infer(inference_request, request.request_id)
        response = protocol.write(inference_request, result)
        response.version = result.info.version
        response.texts = len(inference_request.texts)
        if any(result.truncated):
            response.truncated = sum(result.truncated)
            response.headers["x-truncated"] = indexes(result.truncated)
        if any(result.unread):
            response.headers["x-no-tokens"] = indexes(result.unread)
        return response

    async def infer(self, request: InferenceRequest, request_id: str) -> InferenceResponse:
        """Run the model.

        Args:
            request: the texts and options.
            request_id: id of the request, which also decides whether a canary serves it.

        Raises:
            HttpError: 413 for too many texts, or for one that is too long and must not be truncated; 422 for one that
                the model fails on; 503 if the model is overloaded, too slow or not ready.
        """
        if len(request.texts) > MAX_BATCH:
            inputs = f"{request.form.one}s"
            message = f"{len(request.texts)} {inputs} exceed the limit of {MAX_BATCH} {inputs} per request"
            raise HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)
        try:
            async with asyncio.timeout(self._timeout_s):
                predictions, version = await self._service.predict(
                    request.texts, top_k=request.top_k, function=request.function, key=request_id
                )
            info = self._service.info_of(version)
        except UnreadableText as unreadable:
            told = f"{request.form.one} {unreadable.row}, counted from 0"
            message = f"{told}, cannot be {request.form.done}: the model fails on it alone"
            raise HttpError(HTTPStatus.UNPROCESSABLE_ENTITY, message) from unreadable
        except Overloaded:
            error = busy("the queue is full")
            error.kind = "overloaded"
            raise error from None
        except NotReady:
            raise busy("no model is ready yet") from None
        except TimeoutError:
            raise busy(f"no response within {self._timeout_s:.0f} s") from None
        if not isinstance(predictions, ScoredTexts):
            return InferenceResponse(predictions, info, request_id)
        if not request.truncate and any(predictions.truncated):
            raise HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _too_long(request, info))
        return InferenceResponse(
            predictions, info, request_id, predictions.tokens, predictions.truncated, predictions.unread
        )


def _too_long(request: InferenceRequest, info: Info) -> str:
    # A context is read in windows: the number of its tokens that are read depends on the question.
    if request.form is QUESTIONS:
        return "a question or a context is longer than the model reads"
    return f"a text is longer than the {info.max_length} tokens that the model reads"


def indexes(flags: Sequence[bool]) -> str:
    """The indexes of the set flags, joined by commas."""
    return ",".join(str(number) for number, flag in enumerate(flags) if flag)
