"""HTTP requests and responses shared by server and client.

In: JSON. Out: frozen pydantic models. The format of ``POST /`` is Hugging Face's text-classification task, as used by
``huggingface_hub.InferenceClient``; the response is always nested: one list of label scores per text, best label first.
Never imports Ray or torch.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = ["Canary", "ErrorBody", "Info", "LabelScore", "Parameters", "PredictRequest", "Predictions"]

Text = Annotated[str, Field(min_length=1)]


class Wire(BaseModel):
    """Base of wire models: frozen; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LabelScore(Wire):
    """One label with its probability."""

    label: str
    score: float


class Parameters(Wire):
    """Options of a request."""

    top_k: Annotated[int, Field(ge=1)] | None = None
    """Return only the k best labels per text; null: all."""
    function_to_apply: Literal["softmax", "sigmoid", "none"] | None = None
    """Function that turns logits into scores; none: return the raw logits. null: the function of the task."""


class PredictRequest(Wire):
    """Body of ``POST /``: one text or a list of texts."""

    inputs: Text | Annotated[list[Text], Field(min_length=1)]
    parameters: Parameters | None = None

    @field_validator("inputs")
    @classmethod
    def _encodable(cls, value: str | list[str]) -> str | list[str]:
        for text in [value] if isinstance(value, str) else value:
            if not text.strip():
                raise ValueError("a text is empty")
            try:
                text.encode("utf-8")
            except UnicodeEncodeError:
                # JSON can carry a lone surrogate, which no tokenizer accepts.
                raise ValueError("a text contains an unpaired surrogate, which is not valid Unicode") from None
        return value

    @property
    def texts(self) -> list[str]:
        """The inputs as a list, also for a single text."""
        return [self.inputs] if isinstance(self.inputs, str) else self.inputs


Predictions = list[list[LabelScore]]


class ErrorBody(Wire):
    """Body of every response that is not 2xx."""

    error: str
    error_type: str
    request_id: str


class Canary(Wire):
    """Canary statistics, as seen by the replica that served the request."""

    version: str
    share: float
    requests: int
    errors: int
    p95_ms: float


class Info(Wire):
    """Response of ``GET /info``: the served model, and the limits of the server."""

    model: str
    version: str
    task: str
    labels: list[str]
    max_length: int
    max_batch: int
    max_body_bytes: int
    engine: str
    precision: str
    canary: Canary | None = None
    """The running canary; None: there is none."""
    large_share: float | None = None
    """For a cascade, the fraction of texts passed to its large model, in the replica that served the request; else
    None."""
