"""HTTP requests and answers shared by server and client. Imports neither Ray nor torch.

The format of ``POST /`` is Hugging Face's text-classification task, as ``huggingface_hub.InferenceClient`` speaks it:
the answer is always nested, one list of label scores a text, best first.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = ["Canary", "ErrorBody", "Info", "LabelScore", "Parameters", "PredictRequest", "Predictions"]

Text = Annotated[str, Field(min_length=1)]


class Wire(BaseModel):
    """Base of wire models: frozen, unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LabelScore(Wire):
    """One label with its probability."""

    label: str
    score: float


class Parameters(Wire):
    """Options of a request."""

    top_k: Annotated[int, Field(ge=1)] | None = None
    """Return only the best k labels a text; all when left out."""
    function_to_apply: Literal["softmax", "sigmoid", "none"] | None = None
    """Scores instead of the task's own: softmax or sigmoid of the logits, or the raw logits."""


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
                raise ValueError("a text holds half of a surrogate pair, which is not Unicode text") from None
        return value

    @property
    def texts(self) -> list[str]:
        """The texts as a list."""
        return [self.inputs] if isinstance(self.inputs, str) else self.inputs


Predictions = list[list[LabelScore]]


class ErrorBody(Wire):
    """Body of every answer that is not 2xx."""

    error: str
    error_type: str
    request_id: str


class Canary(Wire):
    """A candidate that answers a share of the requests, as the replica that was asked sees it."""

    version: str
    share: float
    requests: int
    errors: int
    p95_ms: float


class Info(Wire):
    """Answer of ``GET /info``."""

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
    """None: no candidate answers."""
    large_share: float | None = None
    """Of a cascade: share of texts that its large model was asked, by the replica that was asked; None: no cascade."""
