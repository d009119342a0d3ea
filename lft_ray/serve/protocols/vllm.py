"""The vLLM protocol: ``POST /v1/classify`` and ``/classify``. In: bytes. Out: an `InferenceRequest`, response bytes."""

import json
import time
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from lft_ray.serve.http.asgi import Response
from lft_ray.serve.http.strict_json import BadJson, read_object
from lft_ray.serve.protocols.base import (
    InferenceRequest,
    InferenceResponse,
    Protocol,
    RequestHead,
    check_model,
    check_texts,
    refuse_questions,
)
from lft_ray.serve.protocols.forms import PAIRS, TEXTS, form_of
from lft_ray.wire import Info, RequestBody, Text, Texts

__all__ = ["EXAMPLE", "VLLM", "ClassifyRequest", "models"]

EXAMPLE = {"model": TEXTS.model, "input": ["the first text", "the second text"]}


_NO_PAIRS = (
    "input: this model reads pairs of texts, for which this protocol has no form; POST / takes objects with text and "
    "text_pair, POST /predict lists of two texts, and /v2 the tensors text_a and text_b"
)


class _WithoutEffect(RequestBody):
    """Keys of vLLM's own request that change nothing here, with the reason. Its typed clients send all of them."""

    user: str | None = None
    """For your own records; has no effect and is not stored."""
    request_id: str | None = None
    """Has no effect: the header x-request-id names the request, in this protocol too."""
    priority: int | None = None
    """Has no effect: requests are served in turn."""
    cache_salt: str | None = None
    """Has no effect: nothing is cached."""
    add_special_tokens: Literal[True] | None = None
    """Has no effect: the model always reads its special tokens, as in training. false is refused."""
    truncation_side: Literal["right"] | None = None
    """Has no effect: texts are truncated at their end. left is refused."""
    mm_processor_kwargs: None = None
    """Has no effect: there are texts only."""


class ClassifyRequest(_WithoutEffect):
    """Body of ``POST /v1/classify``."""

    model_config = ConfigDict(title="ClassifyRequest")
    expects: ClassVar[dict[str, str]] = {"input": "must be a text or a list of texts, none of them empty"}

    input: Text | Texts
    model: str | None = None
    """classifier, or the model's own name as in /info."""
    use_activation: bool | None = None
    """false: return logits instead of probabilities."""
    activation: bool | None = None
    """The older name of use_activation."""
    softmax: bool | None = None
    """The oldest name of use_activation."""
    truncate_prompt_tokens: Annotated[int, Field(ge=-1, json_schema_extra={"maximum": -1})] | None = None
    """-1, or at least the model's max_length: texts are truncated to that. A smaller number is refused."""


def models(info: Info) -> dict[str, Any]:
    """Response of ``GET /v1/models``, where typed clients look up the name to ask for."""
    model = {
        "id": form_of(info).model,  # the one name that a promotion does not change
        "object": "model",
        "created": int(time.time()),
        "owned_by": "lft_ray",
        "root": info.model,
        "parent": None,
        "max_model_len": info.max_length,
    }
    return {"object": "list", "data": [model]}


def _read(body: bytes, head: RequestHead) -> InferenceRequest:
    refuse_questions(head.info)
    parsed = read_object(body, ClassifyRequest)
    if parsed.model is not None:
        check_model(parsed.model, head.info)
    if form_of(head.info) is PAIRS:
        raise BadJson(_NO_PAIRS, 422)
    tokens = parsed.truncate_prompt_tokens
    if tokens is not None and -1 < tokens < head.info.max_length:
        raise BadJson(f"truncate_prompt_tokens: must be -1 or at least {head.info.max_length}, the max_length", 422)
    asked = {parsed.use_activation, parsed.activation, parsed.softmax} - {None}
    if len(asked) > 1:
        raise BadJson("use_activation, activation and softmax are names of one option, and differ", 422)
    texts = [parsed.input] if isinstance(parsed.input, str) else parsed.input
    return InferenceRequest(check_texts(texts, where="input"), function="none" if asked == {False} else None)


def _write(_: InferenceRequest, response: InferenceResponse) -> Response:
    rows = zip(response.label_scores, response.matrix(), strict=True)
    data: list[dict[str, Any]] = [
        {"index": number, "label": scores[0].label, "probs": probs, "num_classes": len(probs)}
        for number, (scores, probs) in enumerate(rows)
    ]
    tokens = sum(response.tokens)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0, "prompt_tokens_details": None}
    body = {
        "id": f"classify-{response.request_id}",
        "object": "list",
        "created": response.created,
        "model": response.info.model,
        "data": data,
        "usage": usage,
    }
    return Response(json.dumps(body).encode())


VLLM = Protocol("vllm", _read, _write)
