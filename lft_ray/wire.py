"""HTTP requests and responses shared by server and client.

In: JSON. Out: frozen pydantic models. The format of ``POST /`` is that of Hugging Face's tasks, as used by
``huggingface_hub.InferenceClient``. Text classification: the response is always nested, one list of label scores per
text, best label first. Question answering: one answer to one question, a list for a list. Never imports Ray or torch.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, computed_field, model_validator

__all__ = [
    "MAX_ANSWERS",
    "MAX_BATCH",
    "PAIR_TEXTS",
    "VISIBLE",
    "AnswerRequest",
    "Canary",
    "ErrorBody",
    "Info",
    "LabelScore",
    "Options",
    "Pairs",
    "Parameters",
    "PredictOptions",
    "PredictPairsRequest",
    "PredictRequest",
    "Prediction",
    "PredictionKind",
    "Predictions",
    "Question",
    "QuestionParameters",
    "Questions",
    "RequestBody",
    "ResponseBody",
    "SpanAnswer",
    "Text",
    "TextPair",
    "Texts",
    "Wire",
    "wire_input",
]  # fmt: skip

MAX_BATCH = 128
"""Maximum number of texts, pairs of texts or questions per request."""
PAIR_TEXTS = 2
"""Texts of one input of a model on pairs."""
MAX_ANSWERS = 5
"""Maximum number of answers to one question."""
_INVISIBLE = (
    r"\s\u0000-\u001f\u007f-\u00a0\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202f"
    r"\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb"
)
VISIBLE = re.compile(f"[^{_INVISIBLE}]")
"""A character that a reader sees. A text without any (blanks, zero-width characters, NUL) has nothing to classify."""

Text = Annotated[str, Field(json_schema_extra={"minLength": 1, "pattern": VISIBLE.pattern})]
"""A text to read. The limits stand in the schema; `lft_ray.serve.protocols.base.check_texts` words the refusals."""
PredictionKind = Literal["labels", "spans"]
"""What predictions consist of: labels of a text, or answers that are pieces of a context."""
Questions = Annotated[list["Question"], Field(json_schema_extra={"minItems": 1, "maxItems": MAX_BATCH})]
Pairs = Annotated[list["TextPair"], Field(json_schema_extra={"minItems": 1, "maxItems": MAX_BATCH})]
Texts = Annotated[list[Text], Field(json_schema_extra={"minItems": 1, "maxItems": MAX_BATCH})]


class Wire(BaseModel):
    """Base of wire models: frozen; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())


class RequestBody(Wire):
    """Base of request bodies and their parts: JSON types as they are, and null means that the key is absent.

    A key that changes nothing is a field as every other, with the reason in its description; all others are refused.
    """

    model_config = ConfigDict(strict=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, value: Any) -> Any:
        if isinstance(value, dict) and None in value.values():
            return {key: item for key, item in value.items() if item is not None}
        return value


class ResponseBody(Wire):
    """Base of response bodies and their parts: a client may be older than the endpoint, and ignores what it does not
    know.
    """

    model_config = ConfigDict(extra="ignore")


class LabelScore(ResponseBody):
    """One label with its probability."""

    label: str
    score: float


class SpanAnswer(ResponseBody):
    """One answer: a piece of the context, ``context[start:end]``."""

    answer: str
    """The answer; empty: there is none."""
    start: int
    """First character of the answer, counted from 0 in Unicode code points."""
    end: int
    """Character after the answer."""
    score: float
    """Its probability."""


class Parameters(RequestBody):
    """Options of a request."""

    top_k: Annotated[int, Field(ge=1)] | None = None
    """Return only the k best labels per text; null: all."""
    function_to_apply: Literal["softmax", "sigmoid", "none"] | None = None
    """Function that turns logits into scores; none: return the raw logits. null: the function of the task."""
    truncation: bool | Literal["longest_first", "only_first", "do_not_truncate"] | None = None
    """false or do_not_truncate: refuse a text that is longer than the model's max_length. Else it is truncated."""
    return_all_scores: bool | None = None
    """The older form of top_k, which wins where both are given: true is all labels, false the best one."""
    padding: bool | Literal["longest", "max_length", "do_not_pad"] | None = None
    """Has no effect: padding never changes a score."""
    batch_size: Annotated[int, Field(ge=1)] | None = None
    """Has no effect: batches form by themselves, and never change a score."""


class Options(RequestBody):
    """Options of the hosted inference service, whose clients send them to every endpoint."""

    use_cache: bool | None = None
    """Has no effect: nothing is cached, and equal texts have equal scores."""
    wait_for_model: bool | None = None
    """Has no effect: the model is loaded."""
    use_gpu: bool | None = None
    """Has no effect: the endpoint's own hardware is used."""


class TextPair(RequestBody):
    """Two texts that are classified together."""

    text: Text
    """The first text."""
    text_pair: Text
    """The second text."""


class PredictOptions(RequestBody):
    """What a body of ``POST /`` has besides its inputs."""

    parameters: Parameters | None = None
    options: Options | None = None
    """Has no effect: options of the hosted inference service."""


class PredictRequest(PredictOptions):
    """Body of ``POST /``: one text or a list of texts."""

    inputs: Text | Texts

    @property
    def texts(self) -> list[str]:
        """The inputs as a list, also for a single one."""
        return self.inputs if isinstance(self.inputs, list) else [self.inputs]


class PredictPairsRequest(PredictOptions):
    """Body of ``POST /`` of a model on pairs of texts: one pair or a list of pairs."""

    inputs: TextPair | Pairs


class Question(RequestBody):
    """A question about a context."""

    question: Text
    """What is asked."""
    context: Text
    """The text in which the answer is sought."""


class QuestionParameters(RequestBody):
    """Options of a request to a model that answers questions."""

    top_k: Annotated[int, Field(ge=1, le=MAX_ANSWERS)] | None = None
    """Return the k best answers to each question, or fewer where the context has no more; null or 1: the best one."""
    handle_impossible_answer: bool | None = None
    """false: leave out the empty answer, which says that the context has none; it is returned only for a context in
    which the model reads nothing. Else it is an answer as others are, of a model that was trained with such questions.
    """
    truncation: bool | Literal["longest_first", "only_first", "do_not_truncate"] | None = None
    """false or do_not_truncate: refuse a question or a context that is longer than the model reads. Else it is
    truncated."""
    align_to_words: Literal[True] | None = None
    """Has no effect: answers begin and end with whole words. false is refused."""
    doc_stride: None = None
    """Is refused: windows of a long context overlap as they did in training."""
    max_seq_len: None = None
    """Is refused: windows are as long as they were in training."""
    max_question_len: None = None
    """Is refused: a question may take half of a window."""
    max_answer_len: None = None
    """Is refused: answers are at most as long as was learned in training."""


class AnswerRequest(RequestBody):
    """Body of ``POST /`` of a model that answers questions: one question with its context, or a list of these."""

    inputs: Question | Questions
    parameters: QuestionParameters | None = None
    options: Options | None = None
    """Has no effect: options of the hosted inference service."""


_INPUT_KEYS: dict[PredictionKind, tuple[str, str]] = {
    "labels": ("text", "text_pair"),
    "spans": ("question", "context"),
}


def wire_input(text: str | tuple[str, str], answers: PredictionKind = "labels") -> str | dict[str, str]:
    """Return an input as ``POST /`` takes it.

    Args:
        text: a text, a pair of texts, or a question with its context.
        answers: `Info.answers` of the endpoint.
    """
    return text if isinstance(text, str) else dict(zip(_INPUT_KEYS[answers], text, strict=True))


Prediction = list[LabelScore] | list[SpanAnswer]
"""Labels of one text, or answers to one question, with their scores, best first."""
Predictions = list[Prediction]


class ErrorBody(ResponseBody):
    """Body of every response that is not 2xx."""

    error: str
    error_type: str
    request_id: str


class Canary(ResponseBody):
    """Canary statistics, as seen by the replica that served the request."""

    version: str
    share: float
    requests: int
    errors: int
    p95_ms: float


class Info(ResponseBody):
    """Response of ``GET /info``: the served model and the limits of the server, and their names in TEI's ``/info``."""

    model: str
    version: str
    task: str
    labels: list[str]
    max_length: int
    segments: int = 1
    """Texts of one input: 2 for pairs, and for a question with its context."""
    answers: PredictionKind = "labels"
    """What predictions consist of."""
    max_batch: int
    max_body_bytes: int
    engine: str
    precision: str
    canary: Canary | None = None
    """The running canary; None: there is none."""
    large_share: float | None = None
    """For a cascade, the fraction of texts passed to its large model, in the replica that served the request; else
    None."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def model_id(self) -> str:
        """The model's name, for clients of text-embeddings-inference."""
        return self.model

    @computed_field  # type: ignore[prop-decorator]
    @property
    def model_sha(self) -> str:
        """The model's version, likewise."""
        return self.version

    @computed_field  # type: ignore[prop-decorator]
    @property
    def model_dtype(self) -> str:
        """The model's precision, likewise."""
        return self.precision

    @computed_field  # type: ignore[prop-decorator]
    @property
    def model_type(self) -> dict[str, dict[str, dict[str, Any]]]:
        """That it classifies, and the labels in the model's order, likewise; empty of a model without labels."""
        if self.answers != "labels":
            return {}
        names = {str(number): label for number, label in enumerate(self.labels)}
        return {"classifier": {"id2label": names, "label2id": {label: int(number) for number, label in names.items()}}}

    @computed_field  # type: ignore[prop-decorator]
    @property
    def max_input_length(self) -> int:
        """Tokens that the model reads of a text, likewise."""
        return self.max_length

    @computed_field  # type: ignore[prop-decorator]
    @property
    def max_client_batch_size(self) -> int:
        """Texts per request, likewise."""
        return self.max_batch

    @computed_field  # type: ignore[prop-decorator]
    @property
    def auto_truncate(self) -> bool:
        """Longer texts are truncated unless the request says otherwise, likewise."""
        return True
