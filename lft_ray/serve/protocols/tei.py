"""The text-embeddings-inference protocol: ``POST /predict``. In: bytes. Out: an `InferenceRequest`, response bytes.

``"a"`` is one text and gets a flat response; ``["a", "b"]`` is ONE pair of texts, unlike in Hugging Face's task;
``[["a"], ["b"]]`` is a batch and gets a nested response. Models read single texts, or pairs. Errors have the statuses
and names of that protocol: 413 and 422 validation, 424 backend, 429 overloaded.
"""

from http import HTTPStatus
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from lft_ray.serve.http.asgi import Response
from lft_ray.serve.http.errors import HttpError
from lft_ray.serve.http.strict_json import BadJson, read_object
from lft_ray.serve.protocols.base import (
    InferenceRequest,
    InferenceResponse,
    Protocol,
    RequestHead,
    check_texts,
    refuse_questions,
)
from lft_ray.serve.protocols.forms import PAIRS, form_of
from lft_ray.serve.protocols.hf import write_response
from lft_ray.wire import MAX_BATCH, PAIR_TEXTS, RequestBody, Text

__all__ = ["EXAMPLE", "PAIRS_EXAMPLE", "TEI", "TeiPairsRequest", "TeiRequest"]

EXAMPLE = {"inputs": [["the first text"], ["the second text"]], "raw_scores": False, "truncate": True}
PAIRS_EXAMPLE = {"inputs": [["a question", "its answer"], ["a question", "another text"]], "truncate": True}


_One = Annotated[list[Text], Field(json_schema_extra={"minItems": 1, "maxItems": 1})]
_Two = Annotated[list[Text], Field(json_schema_extra={"minItems": PAIR_TEXTS, "maxItems": PAIR_TEXTS})]


class NoParameters(RequestBody):
    """An empty object: clients of Hugging Face's task send one even where they ask for nothing."""


class _TeiOptions(RequestBody):
    """What a body of ``POST /predict`` has besides its inputs."""

    raw_scores: bool | None = None
    """true: return logits instead of probabilities."""
    truncate: bool | None = None
    """false: refuse a text that is longer than the model's max_length instead of truncating it."""
    truncation_direction: Literal["Right", "right"] | None = None
    """Has no effect: texts are truncated at their end. Left is refused."""
    parameters: NoParameters | None = None
    """Must be empty, as huggingface_hub sends it: its options are those of POST /."""


class TeiRequest(_TeiOptions):
    """Body of ``POST /predict``."""

    model_config = ConfigDict(title="TeiRequest")
    expects: ClassVar[dict[str, str]] = {
        "inputs": "must be a text, a list with one text, or a batch: a list of lists with one text each"
    }

    inputs: Text | _One | Annotated[list[_One], Field(json_schema_extra={"minItems": 1, "maxItems": MAX_BATCH})]
    """One text, one text in a list, or a batch of lists with one text each."""


class TeiPairsRequest(_TeiOptions):
    """Body of ``POST /predict`` of a model on pairs of texts."""

    model_config = ConfigDict(title="TeiPairsRequest")
    expects: ClassVar[dict[str, str]] = {
        "inputs": "must be a list with the two texts of a pair, or a batch: a list of lists with two texts each"
    }

    inputs: _Two | Annotated[list[_Two], Field(json_schema_extra={"minItems": 1, "maxItems": MAX_BATCH})]
    """The two texts of one pair, or a batch of lists with two texts each."""


def _read(body: bytes, head: RequestHead) -> InferenceRequest:
    refuse_questions(head.info)
    form = form_of(head.info)
    pairs = form is PAIRS
    parsed = read_object(body, TeiPairsRequest) if pairs else read_object(body, TeiRequest)
    is_batch = isinstance(parsed.inputs, list) and any(isinstance(row, list) for row in parsed.inputs)
    rows: list[Any] = parsed.inputs if is_batch and isinstance(parsed.inputs, list) else [parsed.inputs]
    return InferenceRequest(
        texts=check_texts([_input(row, pairs=pairs) for row in rows], where="inputs", parts=form.parts),
        function="none" if parsed.raw_scores else None,
        truncate=parsed.truncate is not False,
        extra=is_batch,
    )


def _input(row: str | list[str], *, pairs: bool) -> str | tuple[str, str]:
    if pairs:
        if isinstance(row, str) or len(row) != PAIR_TEXTS:
            raise BadJson("inputs: this model reads pairs of texts: each list must contain the two texts of one", 422)
        return row[0], row[1]
    if isinstance(row, str):
        return row
    if len(row) == PAIR_TEXTS:
        raise BadJson(
            "inputs: two texts in one list are a pair, and this model reads single texts; "
            "a batch is a list of lists with one text each",
            422,
        )
    if len(row) != 1:
        raise BadJson("inputs: a list must contain one text; a batch is a list of lists with one text each", 422)
    return row[0]


def _write(request: InferenceRequest, response: InferenceResponse) -> Response:
    body = write_response(response.label_scores)
    # The response to a single text has no outer list: its brackets are the first and the last byte.
    return Response(body if request.extra else body[1:-1])


_ERROR_TYPES = {
    HTTPStatus.BAD_REQUEST: "validation",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "validation",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "validation",
    HTTPStatus.UNPROCESSABLE_ENTITY: "validation",
    HTTPStatus.SERVICE_UNAVAILABLE: "unhealthy",
}


def _translate(error: HttpError) -> HttpError:
    status, kind = error.status, error.kind or _ERROR_TYPES.get(HTTPStatus(error.status), "")
    if kind == "overloaded":
        status = HTTPStatus.TOO_MANY_REQUESTS
    elif status == HTTPStatus.INTERNAL_SERVER_ERROR:
        status, kind = HTTPStatus.FAILED_DEPENDENCY, "backend"
    return HttpError(status, error.message, headers=error.headers, kind=kind)


TEI = Protocol("tei", _read, _write, translate=_translate)
