"""The gRPC service of ``open_inference.proto`` without generated stubs. In: a servicer. Out: handlers in a server."""

from functools import partial
from typing import Any

from google.protobuf.message import DecodeError

from lft_ray.serve.protocols import open_inference_pb2

__all__ = ["MAX_MESSAGE_BYTES", "METHODS", "SERVICE", "add_to_server", "message"]

SERVICE = "inference.GRPCInferenceService"
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""Larger messages a server refuses unread; smaller ones that hold more text than a body may are refused later."""
METHODS = ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer")


def message(kind: str) -> type[Any]:
    """The class of a message whose name is made at run time, such as that of a method's request."""
    found: type[Any] = getattr(open_inference_pb2, kind)
    return found


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
