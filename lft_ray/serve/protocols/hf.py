"""The Hugging Face protocol: ``POST /`` is its text-classification task, as is SageMaker's ``POST /invocations``.

In: bytes. Out: an `InferenceRequest` or an error that names the field, and the response bytes: always nested, one list
of label scores per text, best first. Knows no web framework.
"""

from pydantic import TypeAdapter, ValidationError

from lft_ray.errors import FieldProblem, field_problems
from lft_ray.serve.http.asgi import Response
from lft_ray.serve.http.strict_json import BadJson, read_json
from lft_ray.serve.protocols.base import InferenceRequest, InferenceResponse, Protocol, RequestHead
from lft_ray.wire import Parameters, Predictions, PredictRequest

__all__ = ["EXAMPLE", "HF", "SAGEMAKER", "read_request", "write_response"]

EXAMPLE = {"inputs": ["the first text", "the second text"], "parameters": {"top_k": 1}}

_PREDICTIONS: TypeAdapter[Predictions] = TypeAdapter(Predictions)
_KNOWN = {*PredictRequest.model_fields, *Parameters.model_fields}


def read_request(body: bytes) -> PredictRequest:
    """Parse and check a body.

    Raises:
        BadJson: the body is invalid; the message names the field and never repeats what was sent.
    """
    value = read_json(body)
    if not isinstance(value, dict):
        raise BadJson("the body must be an object with the key inputs", 422)
    try:
        return PredictRequest.model_validate(value)
    except ValidationError as error:
        reasons = [_describe(problem) for problem in field_problems(error)]
        raise BadJson("; ".join(dict.fromkeys(reasons)), 422) from None


def write_response(predictions: Predictions) -> bytes:
    """Encode predictions as JSON."""
    return _PREDICTIONS.dump_json(predictions)


def _read(body: bytes, _: RequestHead) -> InferenceRequest:
    parsed = read_request(body)
    if parsed.parameters is None:
        return InferenceRequest(parsed.texts)
    return InferenceRequest(parsed.texts, parsed.parameters.top_k, parsed.parameters.function_to_apply)


def _write(_: InferenceRequest, response: InferenceResponse) -> Response:
    return Response(write_response(response.predictions))


HF = Protocol("hf", _read, _write)
SAGEMAKER = Protocol("sagemaker", _read, _write)


def _describe(problem: FieldProblem) -> str:
    kind = problem.kind
    # An unknown key came from the request, and nothing of the request is repeated.
    where = ".".join(str(part) for part in problem.location if part in _KNOWN)
    if kind == "extra_forbidden":
        return f"unknown key{' in ' + where if where else ''}; known are inputs, parameters (top_k, function_to_apply)"
    if kind == "missing":
        return f"the key {where} is missing"
    if kind == "string_unicode":
        return f"{where}: a text holds half of a surrogate pair, which is not Unicode text"
    if where == "inputs" and kind != "value_error":
        return "inputs must be a text or a list of texts, none of them empty"
    return f"{where}: {problem.message}"
