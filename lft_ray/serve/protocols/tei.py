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
from lft_ray.serve.protocols.base import InferenceRequest, InferenceResponse, Protocol, RequestHead, check_texts
from lft_ray.serve.protocols.hf import write_response
from lft_ray.wire import MAX_BATCH, RequestBody, Text

__all__ = ["EXAMPLE", "TEI", "TeiRequest"]

EXAMPLE = {"inputs": [["the first text"], ["the second text"]], "raw_scores": False, "truncate": True}


_One = Annotated[list[Text], Field(json_schema_extra={"minItems": 1, "maxItems": 2})]


class NoParameters(RequestBody):
    """An empty object: clients of Hugging Face's task send one even where they ask for nothing."""


class TeiRequest(RequestBody):
    """Body of ``POST /predict``."""

    model_config = ConfigDict(title="TeiRequest")
    expects: ClassVar[dict[str, str]] = {
        "inputs": "must be a text, a list with one text, or a batch: a list of lists with one text each; of a model on "
        "pairs, two texts in each list"
    }

    inputs: Text | _One | Annotated[list[_One], Field(json_schema_extra={"minItems": 1, "maxItems": MAX_BATCH})]
    """One text, one text in a list, or a batch of lists with one text each; of a model on pairs, two texts in each."""
    raw_scores: bool | None = None
    """true: return logits instead of probabilities."""
    truncate: bool | None = None
    """false: refuse a text that is longer than the model's max_length instead of truncating it."""
    truncation_direction: Literal["Right", "right"] | None = None
    """Has no effect: texts are truncated at their end. Left is refused."""
    parameters: NoParameters | None = None
    """Must be empty, as huggingface_hub sends it: its options are those of POST /."""


def _read(body: bytes, head: RequestHead) -> InferenceRequest:
    parsed = read_object(body, TeiRequest)
    is_batch = isinstance(parsed.inputs, list) and any(isinstance(row, list) for row in parsed.inputs)
    rows: list[Any] = parsed.inputs if is_batch and isinstance(parsed.inputs, list) else [parsed.inputs]
    return InferenceRequest(
        texts=check_texts([_input(row, pairs=head.info.segments > 1) for row in rows], where="inputs"),
        function="none" if parsed.raw_scores else None,
        truncate=parsed.truncate is not False,
        extra=is_batch,
    )


def _input(row: str | list[str], *, pairs: bool) -> str | tuple[str, str]:
    if pairs:
        if isinstance(row, str) or len(row) != 2:
            raise BadJson("inputs: each list must contain two texts: this model reads pairs", 422)
        return row[0], row[1]
    if isinstance(row, str):
        return row
    if len(row) == 2:
        raise BadJson(
            "inputs: two texts in one list are a pair, and this model reads single texts; "
            "a batch is a list of lists with one text each",
            422,
        )
    if len(row) != 1:
        raise BadJson("inputs: a list must contain one text; a batch is a list of lists with one text each", 422)
    return row[0]


def _write(request: InferenceRequest, response: InferenceResponse) -> Response:
    body = write_response(response.predictions)
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
