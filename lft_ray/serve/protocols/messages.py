"""The gRPC service of ``open_inference.proto`` without generated service stubs.

In: a servicer and a gRPC server. Out: the handlers of the service's methods, registered with the server.
"""

from functools import partial
from typing import Any

from google.protobuf.message import DecodeError

from lft_ray.serve.protocols import open_inference_pb2

__all__ = ["MAX_MESSAGE_BYTES", "METHODS", "SERVICE", "add_to_server", "message"]

SERVICE = "inference.GRPCInferenceService"
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""The server rejects larger messages unread. Smaller ones with more text than `MAX_BODY_BYTES` are rejected later."""
METHODS = ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer")


def message(kind: str) -> type[Any]:
    """Class of a message by name, for names that are built at run time, such as f"{method}Request"."""
    message_class: type[Any] = getattr(open_inference_pb2, kind)
    return message_class


def _parse(kind: type[Any], data: bytes) -> Any:
    try:
        return kind.FromString(data)
    except DecodeError:
        return None  # the method rejects it; an exception here would give status UNKNOWN and a traceback in the log


def add_to_server(servicer: Any, server: Any) -> None:
    """Register the methods of ``servicer`` with a gRPC server, as protoc's generated code would.

    A request that cannot be parsed reaches the method as None.
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
