"""The Open Inference Protocol (KServe, Triton) over REST, with its binary tensor extension: ``/v2``.

In: bytes. Out: an `InferenceRequest`, and the response bytes. One input tensor ``text`` (BYTES [n] or [n, 1]), or two
of equal shape: ``text_a`` and ``text_b`` for a model on pairs, ``question`` and ``context`` for one that answers
questions. Outputs of labels are ``label`` (BYTES [n], the best label), ``score`` (FP32 [n]) and ``probabilities``
(FP32 [n, labels], in the order of /info); of answers ``answer`` (BYTES [n], empty: there is none), ``start`` and
``end`` (INT64 [n], characters of the context) and ``score``.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import ConfigDict, Field

import lft_ray
from lft_ray.serve.http.asgi import Response
from lft_ray.serve.http.errors import HttpError
from lft_ray.serve.http.strict_json import BadJson, read_object
from lft_ray.serve.protocols import tensors
from lft_ray.serve.protocols.base import (
    InferenceRequest,
    InferenceResponse,
    Protocol,
    RequestHead,
    check_model,
    check_texts,
)
from lft_ray.serve.protocols.forms import QUESTIONS, TEXTS, FormKey, form_of
from lft_ray.texts import Text
from lft_ray.wire import MAX_BATCH, Info, PredictionKind, RequestBody

__all__ = [
    "EXAMPLE", "KSERVE", "PAIRS_EXAMPLE", "QUESTIONS_EXAMPLE", "InferPairsRequest", "InferQuestionsRequest",
    "InferRequest", "check_inputs", "check_parameters", "check_version", "input_names", "joined", "metadata",
    "output_names", "server_metadata",
]  # fmt: skip

INPUT = "text"
PAIR_INPUTS = ("text_a", "text_b")
INPUTS: Mapping[FormKey, tuple[str, ...]] = {
    "texts": (INPUT,), "pairs": PAIR_INPUTS, "questions": QUESTIONS.parts,
}  # fmt: skip
"""Names of the input tensors, all of datatype BYTES."""
OUTPUTS: Mapping[PredictionKind, Mapping[str, str]] = {
    "labels": {"label": "BYTES", "score": "FP32", "probabilities": "FP32"},
    "spans": {"answer": "BYTES", "start": "INT64", "end": "INT64", "score": "FP32"},
}
"""Name of each output tensor -> its datatype."""
LENGTH_HEADER = "inference-header-content-length"
EXAMPLE = {
    "inputs": [{"name": INPUT, "shape": [2], "datatype": "BYTES", "data": ["the first text", "the second text"]}]
}
PAIRS_EXAMPLE = {
    "inputs": [
        {"name": name, "shape": [2], "datatype": "BYTES", "data": data}
        for name, data in zip(PAIR_INPUTS, (["a question", "a question"], ["its answer", "another text"]), strict=True)
    ]
}
QUESTIONS_EXAMPLE = {
    "inputs": [
        {"name": name, "shape": [1], "datatype": "BYTES", "data": [text]}
        for name, text in zip(
            QUESTIONS.parts, ("Where is my parcel?", "Your parcel left the depot. It is in Leeds today."), strict=True
        )
    ]
}


REQUEST_PARAMETERS = {
    "binary_data_output": "",
    "priority": "requests are served in turn",
    "timeout": "the endpoint's own time limit holds",
    "sequence_id": "the model keeps no state between requests",
    "sequence_start": "the model keeps no state between requests",
    "sequence_end": "the model keeps no state between requests",
    "content_type": "texts are always UTF-8",
    "headers": "the headers of the HTTP request hold",
}
"""Parameters of a request that are taken; those with a reason have no effect. Every other one is refused."""
INPUT_PARAMETERS = {"binary_data_size": "", "content_type": "texts are always UTF-8"}
OUTPUT_PARAMETERS = {"binary_data": "", "content_type": "texts are always UTF-8"}


_TYPES = {"binary_data_output": "boolean", "binary_data": "boolean", "binary_data_size": "integer"}
"""Types of the parameters that have an effect."""


def _parameters(known: dict[str, str]) -> Any:
    properties: Any = {name: {"description": why} for name, why in known.items()}
    for name in _TYPES.keys() & known.keys():
        properties[name]["type"] = [_TYPES[name], "null"]
    schema: Any = {"additionalProperties": False, "properties": properties}
    return Annotated[dict[str, Any], Field(json_schema_extra=schema)]


class InputTensor(RequestBody):
    """An input of an inference request."""

    name: Annotated[str, Field(json_schema_extra={"enum": [INPUT]})]
    shape: Annotated[list[int], Field(json_schema_extra={"minItems": 1, "maxItems": 2})]
    """[n] or [n, 1] for n texts."""
    datatype: Annotated[str, Field(json_schema_extra={"enum": ["BYTES"]})]
    parameters: _parameters(INPUT_PARAMETERS) | None = None  # type: ignore[valid-type]
    data: Annotated[list[Any], Field(json_schema_extra={"minItems": 1, "maxItems": MAX_BATCH})] | None = None
    """The texts, or lists with one text each; absent if they follow the JSON as binary data."""


class PairInputTensor(InputTensor):
    """An input of an inference request to a model on pairs: the first texts, or the second ones."""

    name: Annotated[str, Field(json_schema_extra={"enum": list(PAIR_INPUTS)})]


class QuestionInputTensor(InputTensor):
    """An input of an inference request to a model that answers questions: the questions, or their contexts."""

    name: Annotated[str, Field(json_schema_extra={"enum": list(QUESTIONS.parts)})]


class RequestedOutput(RequestBody):
    """An output that the client requests."""

    name: Annotated[str, Field(json_schema_extra={"enum": list(OUTPUTS["labels"])})]
    parameters: _parameters(OUTPUT_PARAMETERS) | None = None  # type: ignore[valid-type]


class InferRequest(RequestBody):
    """Body of ``POST /v2/models/{model}/infer``."""

    model_config = ConfigDict(title="InferRequest")

    inputs: Annotated[list[InputTensor], Field(json_schema_extra={"minItems": 1, "maxItems": 1})]
    id: str | None = None
    """Returned with the response."""
    parameters: _parameters(REQUEST_PARAMETERS) | None = None  # type: ignore[valid-type]
    outputs: list[RequestedOutput] | None = None
    """null or none: all outputs."""


class InferPairsRequest(InferRequest):
    """Body of ``POST /v2/models/{model}/infer`` of a model on pairs of texts."""

    model_config = ConfigDict(title="InferPairsRequest")

    inputs: Annotated[list[PairInputTensor], Field(json_schema_extra={"minItems": 2, "maxItems": 2})]  # type: ignore[assignment]
    """The tensors text_a and text_b, of equal shape: row i of both is pair i."""


class RequestedAnswerOutput(RequestedOutput):
    """An output of a model that answers questions."""

    name: Annotated[str, Field(json_schema_extra={"enum": list(OUTPUTS["spans"])})]


class InferQuestionsRequest(InferRequest):
    """Body of ``POST /v2/models/{model}/infer`` of a model that answers questions."""

    model_config = ConfigDict(title="InferQuestionsRequest")

    inputs: Annotated[list[QuestionInputTensor], Field(json_schema_extra={"minItems": 2, "maxItems": 2})]  # type: ignore[assignment]
    """The tensors question and context, of equal shape: row i of context is what question i is about."""
    outputs: list[RequestedAnswerOutput] | None = None  # type: ignore[assignment]
    """null or none: all outputs."""


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """What the response to a request contains."""

    id: str
    """The id that the client gave the request."""
    outputs: tuple[tuple[str, bool], ...]
    """Name of each output, and whether it is returned as binary data."""
    model: str
    """The name by which the client asked for the model."""


def server_metadata() -> dict[str, Any]:
    """Response of ``GET /v2``."""
    return {"name": "lft_ray", "version": lft_ray.__version__, "extensions": ["binary_tensor_data"]}


def metadata(name: str, info: Info) -> dict[str, Any]:
    """Response of ``GET /v2/models/{model}``."""
    return {
        "name": name,
        "versions": [info.version],
        "platform": f"lft_ray_{info.engine}",
        "inputs": [{"name": tensor, "datatype": "BYTES", "shape": [-1]} for tensor in input_names(info)],
        "outputs": [
            {"name": output, "datatype": datatype, "shape": [-1, *_columns_of(output, info.labels)]}
            for output, datatype in OUTPUTS[info.answers].items()
        ],
    }


def _columns_of(output: str, labels: Sequence[str]) -> list[int]:
    return [len(labels)] if output == "probabilities" else []


def input_names(info: Info) -> tuple[str, ...]:
    """Names of the input tensors of a model."""
    return INPUTS[form_of(info).key]


def output_names(info: Info) -> tuple[str, ...]:
    """Names of the output tensors of a model."""
    return tuple(OUTPUTS[info.answers])


def check_inputs(given: Sequence[tuple[str, str]], info: Info) -> None:
    """Check the name and datatype of the input tensors, which may come in any order.

    Raises:
        BadJson: they are not those of the model (422).
    """
    names = input_names(info)
    if sorted(given) == sorted((name, "BYTES") for name in names):
        return
    form = form_of(info)
    others = {name for own in INPUTS.values() for name in own} - set(names)
    is_of_another = bool({name for name, _ in given} & others)
    why = f": this model {form.reads}" if is_of_another or form is not TEXTS else ""
    count = "one tensor" if len(names) == 1 else "two tensors"
    raise BadJson(f"inputs must be {count}: {' and '.join(names)}, of datatype BYTES{why}", 422)


def joined(columns: Mapping[str, Sequence[Any]], info: Info) -> list[Text]:
    """Return the inputs of the model: the texts of its one tensor, or row by row the pairs of its two.

    Args:
        columns: values of each input tensor, which `check_inputs` has found right.
        info: description of the model.

    Raises:
        BadJson: the tensors have different numbers of texts, or one is no valid text (422).
    """
    names, nouns = input_names(info), form_of(info).parts
    parts = [
        check_texts(columns[name], where=name if len(names) > 1 else "inputs", parts=(noun,))
        for name, noun in zip(names, nouns, strict=True)
    ]
    if len(parts) == 1:
        return parts[0]
    if len(parts[0]) != len(parts[1]):
        counts = " and ".join(f"{name} has {len(part)}" for name, part in zip(names, parts, strict=True))
        raise BadJson(f"inputs: {counts} texts, and row i of both belongs together", 422)
    return [(str(first), str(second)) for first, second in zip(*parts, strict=True)]


def check_version(version: str, info: Info) -> None:
    """Check that ``version`` is empty or that of the current model.

    Raises:
        HttpError: 404.
    """
    if version and version != info.version:
        raise HttpError(404, f"no such version: the model has version {info.version}")


def check_shape(name: str, shape: Sequence[int], texts: int) -> None:
    """Check that the shape of an input is [texts] or [texts, 1].

    Raises:
        BadJson: it is not (422).
    """
    if tuple(shape) not in ((texts,), (texts, 1)):
        raise BadJson(f"the shape of {name} must be [n] or [n, 1] for its n texts", 422)


def check_outputs(names: Sequence[str], info: Info) -> None:
    """Check that all requested outputs exist.

    Raises:
        BadJson: one does not (422).
    """
    available = output_names(info)
    if set(names) - set(available):
        raise BadJson(f"no such output: available are {', '.join(available)}", 422)


def check_parameters(names: Iterable[str] | None, known: Mapping[str, str], *, where: str) -> None:
    """Check that all parameters of a request, an input or an output are known.

    Raises:
        BadJson: one is not (422). The message lists the known ones, and never repeats what was sent.
    """
    given = set(names or ())
    for name in ("classification", "shared_memory_region"):
        if name in given:
            raise BadJson(f"{where}: {name} is not supported: send the texts, and request plain outputs", 422)
    if given - set(known):
        raise BadJson(f"unknown key in {where}; known are {', '.join(known)}", 422)


_NO_DATA = "inputs: data is missing, or the bytes after the JSON belong to no tensor"


def _read(body: bytes, head: RequestHead) -> InferenceRequest:
    check_model(head.parameters["model"], head.info)
    check_version(head.parameters.get("version", ""), head.info)
    text, binary = _split(body, head.header(LENGTH_HEADER.encode()))
    parsed = read_object(text, InferRequest)
    check_parameters(parsed.parameters, REQUEST_PARAMETERS, where="parameters")
    check_inputs([(tensor.name, tensor.datatype) for tensor in parsed.inputs], head.info)
    columns = _columns(parsed.inputs, binary)
    texts = joined(columns, head.info)
    for tensor in parsed.inputs:
        check_shape(tensor.name, tensor.shape, len(texts))
    response_format = ResponseFormat(parsed.id or "", _outputs(parsed, head.info), head.parameters["model"])
    return InferenceRequest(texts, form=form_of(head.info), extra=response_format)


def _split(body: bytes, header: str) -> tuple[bytes, bytes | None]:
    if not header:
        return body, None
    if not header.isdecimal() or len(header) > 9 or int(header) > len(body):
        raise BadJson(f"{LENGTH_HEADER} is not the length of a part of the body", 400)
    return body[: int(header)], body[int(header) :]


def _columns(inputs: Sequence[InputTensor], binary: bytes | None) -> dict[str, list[Any]]:
    """Values of each tensor. The bytes after the JSON are those of the tensors that declare a size, in their order."""
    columns: dict[str, list[Any]] = {}
    rest = binary
    for tensor in inputs:
        parameters = tensor.parameters or {}
        check_parameters(parameters, INPUT_PARAMETERS, where="inputs.parameters")
        size = parameters.get("binary_data_size")
        if size is None:
            if tensor.data is None:
                raise BadJson(_NO_DATA, 422)
            columns[tensor.name] = [row[0] if isinstance(row, list) and len(row) == 1 else row for row in tensor.data]
            continue
        # JSON's true equals 1 in Python, so it would pass as the size of one byte.
        fits = isinstance(size, int) and size is not True and rest is not None and 0 <= size <= len(rest)
        if tensor.data is not None or rest is None or not fits:
            raise BadJson("binary_data_size is not the number of bytes after the JSON", 422)
        columns[tensor.name], rest = tensors.unpack_texts(rest[:size]), rest[size:]
    if rest:
        sized = any("binary_data_size" in (tensor.parameters or {}) for tensor in inputs)
        raise BadJson("binary_data_size is not the number of bytes after the JSON" if sized else _NO_DATA, 422)
    return columns


def _outputs(parsed: InferRequest, info: Info) -> tuple[tuple[str, bool], ...]:
    outputs = parsed.outputs or []
    check_outputs([output.name for output in outputs], info)
    for output in outputs:
        check_parameters(output.parameters, OUTPUT_PARAMETERS, where="outputs.parameters")
    default = _flag(parsed.parameters, "binary_data_output", default=False, where="parameters")
    if not outputs:
        return tuple((name, default) for name in output_names(info))
    where = "outputs.parameters"
    return tuple((one.name, _flag(one.parameters, "binary_data", default=default, where=where)) for one in outputs)


def _flag(parameters: dict[str, Any] | None, name: str, *, default: bool, where: str) -> bool:
    value = (parameters or {}).get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise BadJson(f"{where}.{name} must be true or false", 422)
    return value


def _write(request: InferenceRequest, response: InferenceResponse) -> Response:
    response_format: ResponseFormat = request.extra
    outputs: list[dict[str, Any]] = []
    binary = b""
    for name, as_binary in response_format.outputs:
        tensor, values = output_tensor(name, response)
        if as_binary:
            packed = tensors.pack(values, tensor["datatype"])
            tensor["parameters"] = {"binary_data_size": len(packed)}
            binary += packed
        else:
            tensor["data"] = values
        outputs.append(tensor)
    fields: dict[str, Any] = {
        "model_name": response_format.model,
        "model_version": response.info.version,
        "outputs": outputs,
    }
    if response_format.id:
        fields["id"] = response_format.id
    body = json.dumps(fields).encode()
    if not binary:
        return Response(body)
    headers = {LENGTH_HEADER: str(len(body))}
    return Response(body + binary, media_type="application/octet-stream", headers=headers)


def output_tensor(name: str, response: InferenceResponse) -> tuple[dict[str, Any], list[Any]]:
    """Name, datatype and shape of an output, and its values as one flat list in row-major order."""
    kind = response.info.answers
    shape = [len(response.predictions)]
    if name == "probabilities":
        shape.append(len(response.labels))
    return {"name": name, "datatype": OUTPUTS[kind][name], "shape": shape}, _VALUES[kind][name](response)


_VALUES: Mapping[PredictionKind, Mapping[str, Callable[[InferenceResponse], list[Any]]]] = {
    "labels": {
        "label": lambda response: [scores[0].label for scores in response.label_scores],
        "score": lambda response: [scores[0].score for scores in response.label_scores],
        "probabilities": lambda response: [value for row in response.matrix() for value in row],
    },
    "spans": {
        "answer": lambda response: [answers[0].answer for answers in response.answers],
        "start": lambda response: [answers[0].start for answers in response.answers],
        "end": lambda response: [answers[0].end for answers in response.answers],
        "score": lambda response: [answers[0].score for answers in response.answers],
    },
}
"""Values of each output, as one flat list in row-major order."""


KSERVE = Protocol("kserve", _read, _write, media_types=frozenset({"application/json", "application/octet-stream", ""}))
