"""Run inference in any protocol, within limits. In: a protocol, a request. Out: a `Response`, or an `HttpError`."""

import asyncio
from http import HTTPStatus

from lft_ray.engines.batching import Overloaded
from lft_ray.serve.http.asgi import Request, Response
from lft_ray.serve.http.errors import HttpError, busy
from lft_ray.serve.http.strict_json import BadJson
from lft_ray.serve.model.base import ScoredTexts
from lft_ray.serve.protocols.base import MAX_BATCH, InferenceRequest, InferenceResponse, Protocol, RequestHead
from lft_ray.serve.rollout.service import NotReady, Service

__all__ = ["MAX_BATCH", "RESPONSE_SECONDS", "InferenceHandler"]

RESPONSE_SECONDS = 60.0
"""A request that has not been answered by then is dropped: its texts leave the queue."""


class InferenceHandler:
    """Reads, asks and writes.

    Args:
        service: what answers.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._seconds = RESPONSE_SECONDS

    async def over_http(self, dialect: Protocol, incoming: Request) -> Response:
        """Answer a request.

        Raises:
            Refusal: why not.
        """
        body = await incoming.read_body(dialect.media_types)
        try:
            head = RequestHead(incoming.header, incoming.parameters, self._service.current.info)
            ask = dialect.read(body, head)
        except BadJson as error:
            raise HttpError(error.status, str(error)) from None
        except NotReady:
            raise busy("no model is ready yet") from None
        told = await self.tell(ask, incoming.request_id)
        reply = dialect.write(ask, told)
        reply.version = told.info.version
        reply.texts = len(ask.texts)
        if any(told.cut):
            reply.cut = sum(told.cut)
            reply.headers["x-truncated"] = ",".join(str(number) for number, cut in enumerate(told.cut) if cut)
        return reply

    async def tell(self, ask: InferenceRequest, request_id: str) -> InferenceResponse:
        """Ask the model.

        Raises:
            Refusal: 413 for too many texts or one that may not be cut; 503 when it is too busy, too slow or not ready.
        """
        if len(ask.texts) > MAX_BATCH:
            message = f"{len(ask.texts)} texts are over the limit of {MAX_BATCH} texts a request"
            raise HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)
        try:
            async with asyncio.timeout(self._seconds):
                answer, version = await self._service.answer(
                    ask.texts, top_k=ask.top_k, function=ask.function, key=request_id
                )
            info = self._service.info_of(version)
        except Overloaded:
            refusal = busy("the queue is full")
            refusal.kind = "overloaded"
            raise refusal from None
        except NotReady:
            raise busy("no model is ready yet") from None
        except TimeoutError:
            raise busy(f"no answer within {self._seconds:.0f} s") from None
        if not isinstance(answer, ScoredTexts):
            return InferenceResponse(answer, info, request_id)
        if not ask.may_cut and any(answer.cut):
            message = f"a text is longer than the {info.max_length} tokens that the model reads"
            raise HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)
        return InferenceResponse(answer, info, request_id, answer.tokens, answer.cut)
