"""The messages of ``open_inference.proto``, built at run time: no code generator is needed to install or to serve.

They live in a descriptor pool of their own, so that a process may also import another library's copy of the protocol.
"""

import sys
from functools import partial
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

__all__ = ["MAX_MESSAGE_BYTES", "METHODS", "PACKAGE", "SERVICE", "add_to_server", "describe", "message"]

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""Larger messages a server refuses unread; smaller ones that hold more text than a body may are refused later."""
METHODS = ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer")

_NAMED = "string name, string version"
_TENSOR = "string name, string datatype, repeated int64 shape"
_DATA_TENSOR = f"{_TENSOR}, map .InferParameter parameters, .InferTensorContents contents"
_INFER = "string model_name, string model_version, string id, map .InferParameter parameters"
# A field's number is its place in the line, as it is throughout this part of the protocol.
_MESSAGES = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "bool live",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "bool ready",
    "ModelReadyRequest": _NAMED,
    "ModelReadyResponse": "bool ready",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": f"{_NAMED}, repeated string extensions",
    "ModelMetadataRequest": _NAMED,
    "ModelMetadataResponse": "string name, repeated string versions, string platform, "
    "repeated .ModelMetadataResponse.TensorMetadata inputs, repeated .ModelMetadataResponse.TensorMetadata outputs",
    "ModelMetadataResponse.TensorMetadata": _TENSOR,
    "ModelInferRequest": f"{_INFER}, repeated .ModelInferRequest.InferInputTensor inputs, "
    "repeated .ModelInferRequest.InferRequestedOutputTensor outputs, repeated bytes raw_input_contents",
    "ModelInferRequest.InferInputTensor": _DATA_TENSOR,
    "ModelInferRequest.InferRequestedOutputTensor": "string name, map .InferParameter parameters",
    "ModelInferResponse": f"{_INFER}, repeated .ModelInferResponse.InferOutputTensor outputs, "
    "repeated bytes raw_output_contents",
    "ModelInferResponse.InferOutputTensor": _DATA_TENSOR,
    "InferParameter": "bool bool_param, int64 int64_param, string string_param, double double_param, "
    "uint64 uint64_param",
    "InferTensorContents": "repeated bool bool_contents, repeated int32 int_contents, repeated int64 int64_contents, "
    "repeated uint32 uint_contents, repeated uint64 uint64_contents, repeated float fp32_contents, "
    "repeated double fp64_contents, repeated bytes bytes_contents",
}
_ONE_OF = {"InferParameter": "parameter_choice"}

_Field = descriptor_pb2.FieldDescriptorProto


def describe() -> descriptor_pb2.FileDescriptorProto:
    """The descriptor of ``open_inference.proto``."""
    file = descriptor_pb2.FileDescriptorProto(name="open_inference.proto", package=PACKAGE, syntax="proto3")
    made: dict[str, descriptor_pb2.DescriptorProto] = {}
    for name, fields in _MESSAGES.items():
        parent, _, own = name.rpartition(".")
        made[name] = made[parent].nested_type.add(name=own) if parent else file.message_type.add(name=own)
        if name in _ONE_OF:
            made[name].oneof_decl.add(name=_ONE_OF[name])
        for number, field in enumerate(filter(None, fields.split(", ")), start=1):
            _add_field(made[name], f".{PACKAGE}.{name}", field.split(), number)
    service = file.service.add(name=SERVICE.rpartition(".")[2])
    for method in METHODS:
        kinds = {"input_type": f".{PACKAGE}.{method}Request", "output_type": f".{PACKAGE}.{method}Response"}
        service.method.add(name=method, options=descriptor_pb2.MethodOptions(), **kinds)
    return file


def _add_field(owner: descriptor_pb2.DescriptorProto, path: str, words: list[str], number: int) -> None:
    *labels, kind, name = words
    field = owner.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
    if labels:
        field.label = _Field.LABEL_REPEATED
    if labels == ["map"]:
        # A map is a list of entries with a key and a value.
        entry = owner.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        _add_field(entry, f"{path}.{entry.name}", ["string", "key"], 1)
        _add_field(entry, f"{path}.{entry.name}", [kind, "value"], 2)
        kind = f"{path.removeprefix('.' + PACKAGE)}.{entry.name}"
    if kind.startswith("."):
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{PACKAGE}{kind}"
    else:
        field.type = getattr(_Field, f"TYPE_{kind.upper()}")
    if owner.oneof_decl:
        field.oneof_index = 0


def _build() -> dict[str, type[Any]]:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(describe())
    found: dict[str, type[Any]] = {}
    for name in _MESSAGES:
        if "." not in name:
            found[name] = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
            # Ray pickles messages between its processes, which takes a class that can be found by its name.
            found[name].__module__ = __name__
            setattr(sys.modules[__name__], name, found[name])
    return found


_CLASSES = _build()


def message(kind: str) -> type[Any]:
    """The class of a message, such as ``ModelInferRequest``."""
    return _CLASSES[kind]


def _parse(kind: type[Any], data: bytes) -> Any:
    try:
        return kind.FromString(data)
    except DecodeError:
        return None  # for the method to refuse; an exception here would be UNKNOWN, and a traceback in the log


def add_to_server(servicer: Any, server: Any) -> None:
    """Let a gRPC server answer the service with the methods of ``servicer``, as generated code would.

    What cannot be parsed reaches the method as None.
    """
    import grpc

    handlers = {
        method: grpc.unary_unary_rpc_method_handler(
            getattr(servicer, method),
            request_deserializer=partial(_parse, message(f"{method}Request")),
            response_serializer=message(f"{method}Response").SerializeToString,
        )
        for method in METHODS
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
