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
from lft_ray.texts import Text as ModelInput
from lft_ray.wire import PAIR_TEXTS, Pairs, Predictions, PredictOptions, Text, TextPair, Texts

__all__ = ["EXAMPLE", "HF", "PAIRS_EXAMPLE", "SAGEMAKER", "write_response"]

EXAMPLE = {"inputs": ["the first text", "the second text"], "parameters": {"top_k": 1}}
PAIRS_EXAMPLE = {"inputs": [{"text": "a question", "text_pair": "its answer"}], "parameters": {"top_k": 1}}

_PREDICTIONS: TypeAdapter[Predictions] = TypeAdapter(Predictions)


class _Body(PredictOptions):
    """Both forms of the inputs, so that the one that the model does not read is refused by what it does read."""

    model_config = ConfigDict(title="PredictRequest")
    expects: ClassVar[dict[str, str]] = {"inputs": "must be a text or a list of texts, none of them empty"}

    inputs: Text | TextPair | Pairs | Texts

    @property
    def texts(self) -> list[ModelInput]:
        """The inputs as a list, also for a single one."""
        given = self.inputs if isinstance(self.inputs, list) else [self.inputs]
        return [(one.text, one.text_pair) if isinstance(one, TextPair) else one for one in given]


class _PairsBody(_Body):
    model_config = ConfigDict(title="PredictPairsRequest")
    expects: ClassVar[dict[str, str]] = {
        "inputs": "must be an object with the keys text and text_pair, or a list of such objects, no text empty"
    }


def write_response(predictions: Predictions) -> bytes:
    """Encode predictions as JSON."""
    return _PREDICTIONS.dump_json(predictions)


def _read(body: bytes, head: RequestHead) -> InferenceRequest:
    parsed = read_object(body, _PairsBody if head.info.segments == PAIR_TEXTS else _Body)
    texts = parsed.texts
    check_segments(texts, head.info, where="inputs", pair="an object with the keys text and text_pair")
    texts = check_texts(texts, where="inputs")
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
