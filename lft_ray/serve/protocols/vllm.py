"""vLLM's ``POST /v1/classify`` and ``/classify``. In: bytes. Out: an `InferenceRequest`, and the response's bytes."""

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
    """classifier, or the model's own name as /info has it."""
    user: str | None = None
    """For your own records; it has no effect and is not kept."""
    activation: StrictBool = True
    """false: logits instead of probabilities."""


def _read(body: bytes, head: RequestHead) -> InferenceRequest:
    wanted = read_object(body, ClassifyRequest)
    if wanted.model is not None:
        check_model(wanted.model, head.info)
    texts = [wanted.input] if isinstance(wanted.input, str) else wanted.input
    return InferenceRequest(check_texts(texts, where="input"), function=None if wanted.activation else "none")


def _write(_: InferenceRequest, told: InferenceResponse) -> Response:
    rows = zip(told.answer, told.matrix(), strict=True)
    data: list[dict[str, Any]] = [
        {"index": number, "label": scores[0].label, "probs": probs, "num_classes": len(probs)}
        for number, (scores, probs) in enumerate(rows)
    ]
    used = sum(told.tokens)
    usage = {"prompt_tokens": used, "total_tokens": used, "completion_tokens": 0, "prompt_tokens_details": None}
    answer = {
        "id": f"classify-{told.request_id}",
        "object": "list",
        "created": told.created,
        "model": told.info.model,
        "data": data,
        "usage": usage,
    }
    return Response(json.dumps(answer).encode())


VLLM = Protocol("vllm", _read, _write)
