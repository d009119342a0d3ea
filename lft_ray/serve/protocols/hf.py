"""The Hugging Face protocol: ``POST /`` is its task, as is SageMaker's ``POST /invocations``.

In: bytes. Out: an `InferenceRequest` or an error that names the field, and the response bytes. Text classification:
always nested, one list of label scores per text, best first. Question answering: the answer to one question, a list of
answers for a list of questions; with ``top_k`` above 1 each is a list of answers, best first. Knows no web framework.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Discriminator, Tag, TypeAdapter

from lft_ray.models.passages import OVERLAP
from lft_ray.serve.http.asgi import Response
from lft_ray.serve.http.strict_json import BadJson, read_object
from lft_ray.serve.protocols.base import InferenceRequest, InferenceResponse, Protocol, RequestHead, check_texts
from lft_ray.serve.protocols.forms import PAIRS, QUESTIONS, TEXTS, Form, FormKey, form_of
from lft_ray.texts import Text as ModelInput
from lft_ray.wire import (
    MAX_ANSWERS,
    AnswerRequest,
    LabelScore,
    Pairs,
    Parameters,
    PredictOptions,
    PredictPairsRequest,
    PredictRequest,
    Question,
    QuestionParameters,
    Questions,
    RequestBody,
    SpanAnswer,
    Text,
    TextPair,
    Texts,
)
from lft_ray.wire import Options as WireOptions

__all__ = ["EXAMPLE", "HF", "PAIRS_EXAMPLE", "QUESTIONS_EXAMPLE", "SAGEMAKER", "write_response"]

EXAMPLE = {"inputs": ["the first text", "the second text"], "parameters": {"top_k": 1}}
PAIRS_EXAMPLE = {"inputs": [{"text": "a question", "text_pair": "its answer"}], "parameters": {"top_k": 1}}
QUESTIONS_EXAMPLE = {
    "inputs": {"question": "Where is my parcel?", "context": "Your parcel left the depot. It is in Leeds today."}
}

_LABELS: TypeAdapter[list[list[LabelScore]]] = TypeAdapter(list[list[LabelScore]])
OwnT = TypeVar("OwnT", bound=BaseModel)
EveryT = TypeVar("EveryT", bound=BaseModel)

_PAIR_KEYS = "an object with the keys text and text_pair"
_QUESTION_KEYS = "an object with the keys question and context"


def _tag(inputs: Any) -> str | None:
    """Which form inputs have, by their first one: else each form would report what it misses in them."""
    several = isinstance(inputs, list)
    first = inputs if not several else inputs[0] if inputs else ""
    if isinstance(first, dict):
        form = "question" if first.keys() & {"question", "context"} else None
        form = form or ("pair" if first.keys() & {"text", "text_pair"} else None)
    else:
        form = "text" if isinstance(first, str) else None
    return form and f"{'list of' if several else 'one'} {form}"


_Inputs = Annotated[
    Annotated[Text, Tag("one text")]
    | Annotated[Texts, Tag("list of text")]
    | Annotated[TextPair, Tag("one pair")]
    | Annotated[Pairs, Tag("list of pair")]
    | Annotated[Question, Tag("one question")]
    | Annotated[Questions, Tag("list of question")],
    Discriminator(_tag),
]


class _Body(PredictOptions):
    """All forms of the inputs, so that those that the model does not read are refused by what it does read."""

    model_config = ConfigDict(title="PredictRequest")
    expects: ClassVar[dict[str, str]] = {"inputs": "must be a text or a list of texts, none of them empty"}

    inputs: _Inputs


class _PairsBody(_Body):
    model_config = ConfigDict(title="PredictPairsRequest")
    own_keys: ClassVar[dict[str, list[str]]] = {"inputs": sorted(TextPair.model_fields)}
    expects: ClassVar[dict[str, str]] = {"inputs": f"must be {_PAIR_KEYS}, or a list of such objects, no text empty"}


class _QuestionsBody(RequestBody):
    model_config = ConfigDict(title="AnswerRequest")
    own_keys: ClassVar[dict[str, list[str]]] = {"inputs": sorted(Question.model_fields)}
    expects: ClassVar[dict[str, str]] = {
        "inputs": f"must be {_QUESTION_KEYS}, or a list of such objects, neither of them empty",
        "parameters.top_k": f"must be a whole number from 1 to {MAX_ANSWERS}: the model keeps {MAX_ANSWERS} candidates",
        "parameters.align_to_words": "must be true: answers begin and end with whole words",
        "parameters.doc_stride": (
            f"cannot be set per request: the windows in which a network reads a long context overlap by {OVERLAP} "
            "tokens, at most half of a window, as in training"
        ),
        "parameters.max_seq_len": (
            "cannot be set per request: windows have the model's max_length (see /info), as in training"
        ),
        "parameters.max_question_len": (
            "cannot be set per request: the model reads a question up to half of its max_length (see /info)"
        ),
        "parameters.max_answer_len": (
            "cannot be set per request: answers are at most as long as the model has learned from its train rows"
        ),
    }

    inputs: _Inputs
    parameters: QuestionParameters | None = None
    options: WireOptions | None = None


@dataclass(frozen=True, slots=True)
class AnswerShape:
    """How the answers to a request are returned.

    Attributes:
        is_batch: whether a list of questions was sent.
        top_k: maximum number of answers to each question; with 1 the answer stands alone, not in a list.
        with_empty: whether "no answer" is one.
    """

    is_batch: bool
    top_k: int
    with_empty: bool


def write_response(scores: list[list[LabelScore]]) -> bytes:
    """Encode label scores as JSON."""
    return _LABELS.dump_json(scores)


def _read(body: bytes, head: RequestHead) -> InferenceRequest:
    form = form_of(head.info)
    return _READERS[form.key](body, form)


def _parsed(body: bytes, own: type[OwnT], every: type[EveryT]) -> OwnT | EveryT:
    """Parse a body as what the model reads; where that fails, as a body of every form, for a refusal that says more.

    Args:
        body: the bytes.
        own: body with inputs of the one form.
        every: body with inputs of every form, and the words of the refusals.
    """
    try:
        return read_object(body, own)
    except BadJson:
        return read_object(body, every)


def _listed(inputs: Any, form: Form) -> list[ModelInput]:
    """The inputs as a list, also for a single one.

    Raises:
        BadJson: one is not of the form that the model reads, or is empty (422).
    """
    given = inputs if isinstance(inputs, list) else [inputs]
    other = next((found for one in given if (found := _form_given(one)) is not form), None)
    if other is not None:
        needed, sent = _WRITTEN[form.key], _WRITTEN[other.key]
        told = f", and {sent}" if form is TEXTS else f": each must be {needed}"
        raise BadJson(f"inputs: this model {form.reads}{told}", 422)
    return check_texts([_input(one) for one in given], where="inputs", parts=form.parts)


def _form_given(one: str | TextPair | Question) -> Form:
    return TEXTS if isinstance(one, str) else PAIRS if isinstance(one, TextPair) else QUESTIONS


def _input(one: str | TextPair | Question) -> ModelInput:
    if isinstance(one, str):
        return one
    return (one.text, one.text_pair) if isinstance(one, TextPair) else (one.question, one.context)


_WRITTEN: Mapping[FormKey, str] = {
    "texts": "a text",
    "pairs": _PAIR_KEYS,
    "questions": _QUESTION_KEYS,
}


def _read_labels(body: bytes, form: Form) -> InferenceRequest:
    parsed = _parsed(body, PredictPairsRequest, _PairsBody) if form is PAIRS else _parsed(body, PredictRequest, _Body)
    texts = _listed(parsed.inputs, form)
    parameters = parsed.parameters
    if parameters is None:
        return InferenceRequest(texts)
    top_k = parameters.top_k
    if top_k is None and parameters.return_all_scores is False:
        top_k = 1
    return InferenceRequest(texts, top_k, parameters.function_to_apply, truncate=_truncates(parameters))


def _read_questions(body: bytes, form: Form) -> InferenceRequest:
    parsed = _parsed(body, AnswerRequest, _QuestionsBody)
    texts = _listed(parsed.inputs, form)
    parameters = parsed.parameters or QuestionParameters()
    with_empty = parameters.handle_impossible_answer is not False
    shape = AnswerShape(isinstance(parsed.inputs, list), parameters.top_k or 1, with_empty)
    # One more where "no answer" is left out: it may be among the best.
    asked = shape.top_k + (not with_empty)
    return InferenceRequest(texts, asked, truncate=_truncates(parameters), form=form, extra=shape)


def _truncates(parameters: Parameters | QuestionParameters) -> bool:
    return parameters.truncation not in (False, "do_not_truncate")


_READERS: Mapping[FormKey, Callable[[bytes, Form], InferenceRequest]] = {
    "texts": _read_labels,
    "pairs": _read_labels,
    "questions": _read_questions,
}


def _write(request: InferenceRequest, response: InferenceResponse) -> Response:
    if not isinstance(request.extra, AnswerShape):
        return Response(write_response(response.label_scores))
    shape = request.extra
    rows = [_shaped(answers, shape) for answers in response.answers]
    return Response(json.dumps(rows if shape.is_batch else rows[0], ensure_ascii=False).encode())


def _shaped(answers: Sequence[SpanAnswer], shape: AnswerShape) -> Any:
    # A context in which the model reads nothing has no answer but the empty one.
    kept = answers if shape.with_empty else [one for one in answers if one.answer] or answers
    told = [one.model_dump() for one in kept[: shape.top_k]]
    return told if shape.top_k > 1 else told[0]


HF = Protocol("hf", _read, _write)
SAGEMAKER = Protocol("sagemaker", _read, _write)
