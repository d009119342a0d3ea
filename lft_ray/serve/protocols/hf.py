"""The Hugging Face protocol: ``POST /`` is its text-classification task, as is SageMaker's ``POST /invocations``.

In: bytes. Out: an `InferenceRequest` or an error that names the field, and the response bytes: always nested, one list
of label scores per text, best first. Knows no web framework.
"""

from typing import ClassVar

from pydantic import ConfigDict, TypeAdapter

from lft_ray.serve.http.asgi import Response
from lft_ray.serve.http.strict_json import read_object
from lft_ray.serve.protocols.base import (
    InferenceRequest,
    InferenceResponse,
    Protocol,
    RequestHead,
    check_segments,
    check_texts,
)
from lft_ray.wire import Predictions, PredictRequest

__all__ = ["EXAMPLE", "HF", "SAGEMAKER", "write_response"]

EXAMPLE = {"inputs": ["the first text", "the second text"], "parameters": {"top_k": 1}}

_PREDICTIONS: TypeAdapter[Predictions] = TypeAdapter(Predictions)


class _Body(PredictRequest):
    model_config = ConfigDict(title="PredictRequest")

    expects: ClassVar[dict[str, str]] = {
        "inputs": "must be a text or a list of texts, none of them empty; of a model on pairs, objects with text and "
        "text_pair"
    }


def write_response(predictions: Predictions) -> bytes:
    """Encode predictions as JSON."""
    return _PREDICTIONS.dump_json(predictions)


def _read(body: bytes, head: RequestHead) -> InferenceRequest:
    parsed = read_object(body, _Body)
    texts = check_texts(parsed.texts, where="inputs")
    check_segments(texts, head.info, where="inputs")
    parameters = parsed.parameters
    if parameters is None:
        return InferenceRequest(texts)
    top_k = parameters.top_k
    if top_k is None and parameters.return_all_scores is False:
        top_k = 1
    truncate = parameters.truncation not in (False, "do_not_truncate")
    return InferenceRequest(texts, top_k, parameters.function_to_apply, truncate=truncate)


def _write(_: InferenceRequest, response: InferenceResponse) -> Response:
    return Response(write_response(response.predictions))


HF = Protocol("hf", _read, _write)
SAGEMAKER = Protocol("sagemaker", _read, _write)
