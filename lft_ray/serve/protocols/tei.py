"""``POST /predict`` as text-embeddings-inference speaks it. In: bytes. Out: an `InferenceRequest`, and the answer's
bytes.

``"a"`` is one text and answered flat; ``["a", "b"]`` is ONE pair of texts, unlike in Hugging Face's task; ``[["a"],
["b"]]`` is a batch and answered nested. Errors have that protocol's statuses and names: 413 and 422 validation or
tokenizer, 424 backend, 429 overloaded.
"""

from http import HTTPStatus
from typing import Any, Literal

from pydantic import ConfigDict, StrictBool

from lft_ray.serve.http.asgi import Response
from lft_ray.serve.http.errors import HttpError
from lft_ray.serve.http.strict_json import BadJson, read_object
from lft_ray.serve.protocols.base import InferenceRequest, InferenceResponse, Protocol, RequestHead, check_texts
from lft_ray.serve.protocols.hf import write_response
from lft_ray.wire import Wire

__all__ = ["EXAMPLE", "TEI", "TeiRequest"]

EXAMPLE = {"inputs": [["the first text"], ["the second text"]], "raw_scores": False, "truncate": True}


class TeiRequest(Wire):
    """Body of ``POST /predict``."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="TeiRequest")

    inputs: str | list[str] | list[list[str]]
    """One text, one text in a list, or a batch of lists with one text each. A pair is refused: no model reads one."""
    raw_scores: StrictBool = False
    """Logits instead of probabilities."""
    truncate: StrictBool | None = None
    """false: refuse a text that is longer than the model's max_length instead of cutting it."""
    truncation_direction: Literal["Right"] = "Right"
    """The end of a text is what is cut."""


def _read(body: bytes, _: RequestHead) -> InferenceRequest:
    wanted = read_object(body, TeiRequest)
    is_batch = isinstance(wanted.inputs, list) and any(isinstance(one, list) for one in wanted.inputs)
    rows: list[Any] = wanted.inputs if is_batch and isinstance(wanted.inputs, list) else [wanted.inputs]
    return InferenceRequest(
        texts=check_texts([_one(row) for row in rows], where="inputs"),
        function="none" if wanted.raw_scores else None,
        may_cut=wanted.truncate is not False,
        extra=is_batch,
    )


def _one(row: str | list[str]) -> str:
    if isinstance(row, str):
        return row
    if len(row) == 2:
        raise BadJson(
            "inputs: two texts in one list are a pair, and this model reads single texts; "
            "a batch is a list of lists with one text each",
            422,
        )
    if len(row) != 1:
        raise BadJson("inputs: a list must hold one text; a batch is a list of lists with one text each", 422)
    return row[0]


def _write(ask: InferenceRequest, told: InferenceResponse) -> Response:
    body = write_response(told.answer)
    # A single text is answered without the outer list: its brackets are the first and the last byte.
    return Response(body if ask.extra else body[1:-1])


_NAMES = {
    HTTPStatus.BAD_REQUEST: "validation",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "validation",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "validation",
    HTTPStatus.UNPROCESSABLE_ENTITY: "validation",
    HTTPStatus.SERVICE_UNAVAILABLE: "unhealthy",
}


def _translate(refusal: HttpError) -> HttpError:
    status, kind = refusal.status, refusal.kind or _NAMES.get(HTTPStatus(refusal.status), "")
    if kind == "overloaded":
        status = HTTPStatus.TOO_MANY_REQUESTS
    elif status == HTTPStatus.INTERNAL_SERVER_ERROR:
        status, kind = HTTPStatus.FAILED_DEPENDENCY, "backend"
    return HttpError(status, refusal.message, headers=refusal.headers, kind=kind)


TEI = Protocol("tei", _read, _write, translate=_translate)
