"""What one input of a model is: a text, a pair of texts, or a question with its context.

In: the description of a model. Out: its `Form`, by whose key every protocol chooses its own format, and in whose words
errors speak. Knows no kind of task and no wire format.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from lft_ray.wire import Info, PredictionKind

__all__ = ["FORMS", "PAIRS", "QUESTIONS", "TEXTS", "Form", "FormKey", "form_of"]

FormKey = Literal["texts", "pairs", "questions"]


@dataclass(frozen=True, slots=True)
class Form:
    """One input of a model, and what it is called.

    Attributes:
        key: key of the tables of the protocols.
        title: what an endpoint with such a model is.
        model: model name that every such endpoint accepts, besides `Info.model`, which may change with a promotion.
        parts: name of each of its texts, for messages.
        reads: what the model reads, for messages: "this model ...".
        done: what is done to an input, for messages: "cannot be ...".
    """

    key: FormKey
    title: str
    model: str
    parts: tuple[str, ...]
    reads: str
    done: str

    @property
    def one(self) -> str:
        """What one input counts as."""
        return self.parts[0]


_CLASSIFIES = ("Text classification endpoint", "classifier")
TEXTS = Form("texts", *_CLASSIFIES, ("text",), "reads single texts", "classified")
PAIRS = Form("pairs", *_CLASSIFIES, ("text", "text"), "reads pairs of texts", "classified")
QUESTIONS = Form(
    "questions",
    "Question answering endpoint",
    "reader",
    ("question", "context"),
    "answers questions about a context",
    "answered",
)

FORMS: Mapping[tuple[PredictionKind, int], Form] = {("labels", 1): TEXTS, ("labels", 2): PAIRS, ("spans", 2): QUESTIONS}
"""What predictions consist of, and texts of one input -> form."""


def form_of(info: Info) -> Form:
    """Return the form of a model's inputs."""
    return FORMS.get((info.answers, info.segments), TEXTS)
