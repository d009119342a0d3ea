"""What every protocol of the endpoint is made of: a reader and a writer of bytes. Knows no web framework.

A protocol reads a body into an `InferenceRequest`, and writes the `InferenceResponse` that answers it. What it cannot
use it refuses with `BadJson` or `HttpError`; a protocol with names of its own for errors translates refusals.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from lft_ray.serve.http.asgi import Response
from lft_ray.serve.http.errors import HttpError
from lft_ray.serve.http.strict_json import BadJson
from lft_ray.wire import Info, Predictions

__all__ = [
    "MAX_BATCH",
    "MODEL_NAMES",
    "InferenceRequest",
    "InferenceResponse",
    "Protocol",
    "RequestHead",
    "check_model",
    "check_texts",
]

MAX_BATCH = 128
MODEL_NAMES = ("classifier",)
"""Names under which every endpoint's model is known, beside its own (`Info.model`), which changes with a promotion."""

Function = Literal["softmax", "sigmoid", "none"]


@dataclass(frozen=True, slots=True)
class RequestHead:
    """What a reader may need of a request beside its body."""

    header: Callable[[bytes], str]
    parameters: Mapping[str, str]
    info: Info
    """Of the model that would answer now."""


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """What is asked of the model."""

    texts: list[str]
    top_k: int | None = None
    function: Function | None = None
    may_cut: bool = True
    """False: a text that is longer than the model reads is refused instead of cut."""
    extra: Any = None
    """What the writer of the same protocol needs."""


@dataclass(frozen=True, slots=True)
class InferenceResponse:
    """What the model answered."""

    answer: Predictions
    info: Info
    request_id: str
    tokens: Sequence[int] = ()
    cut: Sequence[bool] = ()
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def labels(self) -> list[str]:
        """All labels in the model's own order; best first of the first text where another model has answered since."""
        found = [score.label for score in self.answer[0]]
        return self.info.labels if set(found) == set(self.info.labels) else found

    def matrix(self) -> list[list[float]]:
        """Scores of each text in the order of `labels`."""
        labels = self.labels
        rows = ({score.label: score.score for score in scores} for scores in self.answer)
        return [[row[label] for label in labels] for row in rows]


@dataclass(frozen=True, slots=True)
class Protocol:
    """One protocol that asks the model."""

    name: str
    """Stands in the metrics."""
    read: Callable[[bytes, RequestHead], InferenceRequest]
    write: Callable[[InferenceRequest, InferenceResponse], Response]
    media_types: frozenset[str] = frozenset({"application/json"})
    translate: Callable[[HttpError], HttpError] = lambda refusal: refusal


def check_texts(texts: Sequence[Any], *, where: str) -> list[str]:
    """The texts, if each of them is one that a model can read.

    Raises:
        BadJson: the message names the field and never repeats a text.
    """
    if not texts:
        raise BadJson(f"{where} holds no text", 422)
    for text in texts:
        if not isinstance(text, str):
            raise BadJson(f"{where} must hold texts only", 422)
        if not text or text.isspace():
            raise BadJson(f"{where}: a text is empty", 422)
        if not text.isascii():
            try:
                text.encode("utf-8")
            except UnicodeEncodeError:
                # JSON can carry a lone surrogate, which no tokenizer accepts.
                message = f"{where}: a text holds half of a surrogate pair, which is not Unicode text"
                raise BadJson(message, 422) from None
    return list(texts)


def check_model(name: str, info: Info) -> None:
    """Raise where ``name`` is not the model that answers.

    Raises:
        Refusal: 404.
    """
    if name not in MODEL_NAMES and name != info.model:
        raise HttpError(404, f"there is no such model here: ask for {' or '.join([*MODEL_NAMES, info.model])}")
