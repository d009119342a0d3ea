"""The Open Inference Protocol over gRPC: the six methods of ``inference.GRPCInferenceService``.

In: protobuf messages. Out: protobuf messages, or a gRPC status with a reason. Texts are read from ``bytes_contents`` or
``raw_input_contents``; outputs are returned raw, as Triton does. The API key is in the metadata ``authorization``;
``x-request-id`` and ``x-model-version`` are returned in the trailers. Never raises for a bad request.
"""

import asyncio
import logging
import time
from typing import Any

from lft_ray.serve.http.asgi import MAX_BODY_BYTES
from lft_ray.serve.http.auth import ApiKeys
from lft_ray.serve.http.errors import HttpError, busy, request_id
from lft_ray.serve.http.metrics import Metrics
from lft_ray.serve.http.strict_json import BadJson
from lft_ray.serve.protocols import kserve, tensors
from lft_ray.serve.protocols.base import InferenceRequest, InferenceResponse, check_model
from lft_ray.serve.protocols.forms import form_of
from lft_ray.serve.protocols.inference import InferenceHandler, indexes
from lft_ray.serve.protocols.messages import message
from lft_ray.serve.protocols.open_inference_pb2 import (
    ModelInferRequest,
    ModelInferResponse,
    ModelMetadataRequest,
    ModelMetadataResponse,
    ModelReadyRequest,
    ModelReadyResponse,
    ServerLiveRequest,
    ServerLiveResponse,
    ServerMetadataRequest,
    ServerMetadataResponse,
    ServerReadyRequest,
    ServerReadyResponse,
)
from lft_ray.serve.rollout.service import NotReady, Service
from lft_ray.texts import Text
from lft_ray.wire import Info

__all__ = ["GrpcService"]

logger = logging.getLogger("lft_ray.serve")

_OPEN_METHODS = frozenset({"ServerLive", "ServerReady"})
"""Methods that need no API key, for health probes."""
_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "RESOURCE_EXHAUSTED",
    422: "INVALID_ARGUMENT",
    503: "UNAVAILABLE",
}


class GrpcService:
    """The servicer of the six methods.

    Args:
        service: the service that holds the model.
        keys: the accepted API keys; ServerLive and ServerReady need none.
        local_only: accept only callers on this machine. Ray's gRPC servers listen on all interfaces, whatever the
            address of the endpoint is.
        metrics: metrics that every call is recorded in, with the name of its gRPC status.
    """

    def __init__(self, service: Service, *, keys: ApiKeys, local_only: bool, metrics: Metrics | None = None) -> None:
        self._service = service
        self._metrics = metrics
        self._inference = InferenceHandler(service)
        self._keys = keys
        self._local_only = local_only

    async def call(self, method: str, request: Any, context: Any) -> Any:
        """Handle one call.

        Args:
            method: name of the method, such as ``ModelInfer``.
            request: the request message; None if the bytes could not be parsed.
            context: context of the call, from grpc.aio or Ray Serve.

        Returns:
            The response message of the method; empty where the context carries an error status.
        """
        import grpc

        started_at = time.perf_counter()
        metadata: dict[str, str] = {}
        for name, value in context.invocation_metadata():
            if isinstance(value, str):
                metadata.setdefault(name, value)  # of two request ids the first, as over HTTP
        call_id = request_id(metadata.get("x-request-id", ""))
        version, code = "", "OK"
        response = message(f"{method}Response")()
        try:
            if self._check_caller(method, metadata.get("authorization", ""), context.peer()):
                version = self._service.version
            if request is None:
                raise BadJson(f"the message is not a valid {method}Request", 400)
            version = await getattr(self, f"_{_snake(method)}")(request, response, call_id) or version
        except (HttpError, BadJson) as error:
            # A status instead of an exception: Ray would log a traceback for every bad request.
            code = _CODES.get(error.status, "INTERNAL")
            context.set_code(getattr(grpc.StatusCode, code))
            context.set_details(str(error))
        except asyncio.CancelledError:
            raise
        except Exception:
            logger.exception("request %s failed", call_id)
            code = "INTERNAL"
            context.set_code(grpc.StatusCode.INTERNAL)
            context.set_details("internal error, see the server's log")
        trailers = [("x-request-id", call_id), *([("x-model-version", version)] if version else [])]
        context.set_trailing_metadata(trailers)
        if self._metrics is not None:
            texts, truncated = _counts(response) if method == "ModelInfer" and code == "OK" else (0, 0)
            seconds = time.perf_counter() - started_at
            self._metrics.count("grpc", code, seconds, texts=texts, truncated=truncated)
        return response

    def _check_caller(self, method: str, authorization: str, peer: str) -> bool:
        """Whether the caller may know the version of the model, as over HTTP. Raises for one who may not call."""
        if self._local_only and not _is_local(peer):
            raise HttpError(403, "this endpoint accepts calls from its own machine only")
        is_trusted = self._keys.allow(authorization)
        if method not in _OPEN_METHODS and not is_trusted:
            raise HttpError(401, "a valid API key is required in the metadata: authorization: Bearer KEY")
        return is_trusted

    async def _server_live(self, _: ServerLiveRequest, response: ServerLiveResponse, __: str) -> None:
        response.live = True

    async def _server_ready(self, _: ServerReadyRequest, response: ServerReadyResponse, __: str) -> None:
        response.ready = bool(self._service.version)

    async def _model_ready(self, request: ModelReadyRequest, response: ModelReadyResponse, _: str) -> None:
        self._info(request.name, request.version)
        response.ready = True

    async def _server_metadata(self, _: ServerMetadataRequest, response: ServerMetadataResponse, __: str) -> None:
        metadata = kserve.server_metadata()
        response.name, response.version = metadata["name"], metadata["version"]

    async def _model_metadata(self, request: ModelMetadataRequest, response: ModelMetadataResponse, _: str) -> None:
        metadata = kserve.metadata(request.name, self._info(request.name, request.version))
        response.name, response.platform = metadata["name"], metadata["platform"]
        response.versions.extend(metadata["versions"])
        for side in ("inputs", "outputs"):
            for tensor in metadata[side]:
                getattr(response, side).add(**tensor)

    async def _model_infer(self, request: ModelInferRequest, response: ModelInferResponse, call_id: str) -> str:
        info = self._info(request.model_name, request.model_version)
        outputs = [output.name for output in request.outputs] or list(kserve.output_names(info))
        kserve.check_outputs(outputs, info)
        kserve.check_parameters(request.parameters, kserve.REQUEST_PARAMETERS, where="parameters")
        for output in request.outputs:
            kserve.check_parameters(output.parameters, kserve.OUTPUT_PARAMETERS, where="outputs.parameters")
        texts = _texts(request, info)
        result = await self._inference.infer(InferenceRequest(texts, form=form_of(info)), call_id)
        _fill(response, outputs, result)
        response.id, response.model_name = request.id, request.model_name
        return result.info.version

    def _info(self, name: str, version: str) -> Info:
        try:
            info = self._service.current.info
        except NotReady:
            raise busy("no model is ready yet") from None
        check_model(name, info)
        kserve.check_version(version, info)
        return info


def _texts(request: ModelInferRequest, info: Info) -> list[Text]:
    kserve.check_inputs([(tensor.name, tensor.datatype) for tensor in request.inputs], info)
    for tensor in request.inputs:
        kserve.check_parameters(tensor.parameters, kserve.INPUT_PARAMETERS, where="inputs.parameters")
    raw = request.raw_input_contents
    if raw and (len(raw) != len(request.inputs) or any(tensor.HasField("contents") for tensor in request.inputs)):
        raise BadJson("the texts must be given once, in contents or in raw_input_contents, one for each tensor", 422)
    sizes = map(len, raw) if raw else (len(text) for one in request.inputs for text in one.contents.bytes_contents)
    if sum(sizes) > MAX_BODY_BYTES:
        raise HttpError(413, f"the texts exceed the limit of {MAX_BODY_BYTES} bytes")
    columns = {
        tensor.name: tensors.unpack_texts(raw[number])
        if raw
        else [tensors.decode(one) for one in tensor.contents.bytes_contents]
        for number, tensor in enumerate(request.inputs)
    }
    texts = kserve.joined(columns, info)
    for tensor in request.inputs:
        kserve.check_shape(tensor.name, tensor.shape, len(texts))
    return texts


def _fill(response: ModelInferResponse, outputs: list[str], result: InferenceResponse) -> None:
    response.model_version = result.info.version
    for name in outputs:
        tensor, values = kserve.output_tensor(name, result)
        response.outputs.add(**tensor)
        response.raw_output_contents.append(tensors.pack(values, tensor["datatype"]))
    for name, flags in (("truncated", result.truncated), ("no_tokens", result.unread)):
        if any(flags):
            response.parameters[name].string_param = indexes(flags)


def _counts(response: ModelInferResponse) -> tuple[int, int]:
    """Number of texts in a response, and of the truncated ones."""
    cut = response.parameters["truncated"].string_param if "truncated" in response.parameters else ""
    return int(response.outputs[0].shape[0]), len(cut.split(",")) if cut else 0


def _snake(method: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in method).lstrip("_")


def _is_local(peer: str) -> bool:
    # gRPC formats a peer as ipv4:127.0.0.1:4711, ipv6:[::1]:4711 or unix:path, in some versions percent-encoded.
    address = peer.lower().replace("%5b", "[").replace("%5d", "]")
    return address.startswith(("ipv4:127.", "ipv6:[::1]", "ipv6:[::ffff:127.", "unix:"))
