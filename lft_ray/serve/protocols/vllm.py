"""The vLLM protocol: ``POST /v1/classify`` and ``/classify``. In: bytes. Out: an `InferenceRequest`, response bytes."""

import json
from typing import Any

from pydantic import ConfigDict, StrictBool

from lft_ray.serve.http.asgi import Response
from lft_ray.serve.http.strict_json import read_object
from lft_ray.serve.protocols.base import (
    InferenceRequest,
    InferenceResponse,
    Protocol,
    RequestHead,
    check_model,
    check_texts,
)
from lft_ray.wire import Wire

__all__ = ["EXAMPLE", "VLLM", "ClassifyRequest"]

EXAMPLE = {"model": "classifier", "input": ["the first text", "the second text"]}


class ClassifyRequest(Wire):
    """Body of ``POST /v1/classify``."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="ClassifyRequest")

    input: str | list[str]
    model: str | None = None
    """classifier, or the model's own name as in /info."""
    user: str | None = None
    """For your own records; has no effect and is not stored."""
    activation: StrictBool = True
    """false: return logits instead of probabilities."""


def _read(body: bytes, head: RequestHead) -> InferenceRequest:
    parsed = read_object(body, ClassifyRequest)
    if parsed.model is not None:
        check_model(parsed.model, head.info)
    texts = [parsed.input] if isinstance(parsed.input, str) else parsed.input
    return InferenceRequest(check_texts(texts, where="input"), function=None if parsed.activation else "none")


def _write(_: InferenceRequest, response: InferenceResponse) -> Response:
    rows = zip(response.predictions, response.matrix(), strict=True)
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
