"""The interface of a wire protocol: a reader of request bodies and a writer of responses. Knows no web framework.

In: the bytes of a request. Out: an `InferenceRequest`, and the `Response` of the `InferenceResponse` to it. Invalid
input raises `BadJson` or `HttpError`; a protocol with its own statuses and error names translates the errors.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from lft_ray.serve.http.asgi import Response
from lft_ray.serve.http.errors import HttpError
from lft_ray.serve.http.strict_json import BadJson
from lft_ray.serve.protocols.forms import TEXTS, Form, form_of
from lft_ray.texts import Text
from lft_ray.wire import MAX_BATCH, VISIBLE, Info, LabelScore, Predictions, SpanAnswer

__all__ = [
    "MAX_BATCH",
    "InferenceRequest",
    "InferenceResponse",
    "Protocol",
    "RequestHead",
    "check_model",
    "check_texts",
    "refuse_questions",
]

Function = Literal["softmax", "sigmoid", "none"]


@dataclass(frozen=True, slots=True)
class RequestHead:
    """What a reader may need of a request besides its body."""

    header: Callable[[bytes], str]
    """Returns the value of a header by its name in lower case; empty if absent."""
    parameters: Mapping[str, str]
    """Path parameters."""
    info: Info
    """Description of the current model."""


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """An inference request, independent of the protocol."""

    texts: list[Text]
    top_k: int | None = None
    """Return only the best k parts of each prediction; None: as many as the task gives."""
    function: Function | None = None
    """Activation function for the scores; None: that of the task."""
    truncate: bool = True
    """False: refuse a text that is longer than the model's maximum length instead of truncating it."""
    form: Form = TEXTS
    """What each input is, for messages."""
    extra: Any = None
    """State that the protocol's reader passes to its writer."""


@dataclass(frozen=True, slots=True)
class InferenceResponse:
    """An inference response, independent of the protocol."""

    predictions: Predictions
    info: Info
    """Description of the model that produced the predictions."""
    request_id: str
    tokens: Sequence[int] = ()
    """Number of tokens read of each text."""
    truncated: Sequence[bool] = ()
    """Whether each text was truncated."""
    unread: Sequence[bool] = ()
    """Whether each text has no token of its own."""
    created: int = field(default_factory=lambda: int(time.time()))
    """Unix time in seconds."""

    @property
    def label_scores(self) -> list[list[LabelScore]]:
        """The predictions of a model whose outputs are labels."""
        return cast("list[list[LabelScore]]", self.predictions)

    @property
    def answers(self) -> list[list[SpanAnswer]]:
        """The predictions of a model that answers questions."""
        return cast("list[list[SpanAnswer]]", self.predictions)

    @property
    def labels(self) -> list[str]:
        """All labels in the order of the model; best first of the first text if `info` has other labels by now."""
        predicted = [score.label for score in self.label_scores[0]]
        return self.info.labels if set(predicted) == set(self.info.labels) else predicted

    def matrix(self) -> list[list[float]]:
        """Scores of shape [texts, labels], with columns in the order of `labels`."""
        labels = self.labels
        rows = ({score.label: score.score for score in scores} for scores in self.label_scores)
        return [[row[label] for label in labels] for row in rows]


@dataclass(frozen=True, slots=True)
class Protocol:
    """One wire protocol for inference."""

    name: str
    """Value of the label ``protocol`` in the metrics."""
    read: Callable[[bytes, RequestHead], InferenceRequest]
    """Parses a request body."""
    write: Callable[[InferenceRequest, InferenceResponse], Response]
    """Encodes the response to a request."""
    media_types: frozenset[str] = frozenset({"application/json"})
    """Accepted media types; an empty string accepts a request without a content-type."""
    translate: Callable[[HttpError], HttpError] = lambda error: error
    """Maps an error to the status and ``error_type`` of the protocol."""


def check_texts(texts: Sequence[Any], *, where: str, parts: Sequence[str] = TEXTS.parts) -> list[Text]:
    """Return the texts, or tuples of texts, if each of them is valid model input.

    Args:
        texts: values of a request.
        where: name of their field, for the message.
        parts: name of a text, or of each text of a tuple, for the message.

    Raises:
        BadJson: there is no text, or one is not a string, not valid Unicode or without a visible character (422). The
            message names the field and never repeats a text.
    """
    if not texts:
        raise BadJson(f"{where} contains no {parts[0]}", 422)
    for text in texts:
        if isinstance(text, tuple):
            for part, name in zip(text, parts, strict=True):
                _check_text(part, where, name)
        else:
            _check_text(text, where, parts[0])
    return list(texts)


def _check_text(text: Any, where: str, name: str) -> None:
    if not isinstance(text, str):
        raise BadJson(f"{where} must contain only texts", 422)
    if not VISIBLE.search(text):
        raise BadJson(f"{where}: a {name} is empty, or has invisible characters only", 422)
    if not text.isascii():  # encoding every text would cost more than this check
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            # JSON can carry a lone surrogate, which no tokenizer accepts.
            message = f"{where}: a {name} holds half of a surrogate pair, which is not Unicode text"
            raise BadJson(message, 422) from None


def check_model(name: str, info: Info) -> None:
    """Check that ``name`` is a name of the current model.

    Raises:
        HttpError: 404.
    """
    general = form_of(info).model
    if name not in (general, info.model):
        raise HttpError(404, f"no such model: use {general} or {info.model}")


def refuse_questions(info: Info) -> None:
    """Refuse a model that answers questions, in a protocol that has labels only.

    Raises:
        BadJson: naming the routes that take questions (422).
    """
    if info.answers == "spans":
        raise BadJson(
            "this model answers questions about a context, for which this protocol has no form: POST / takes objects "
            f"with question and context, and /v2/models/{form_of(info).model}/infer tensors of these names",
            422,
        )
