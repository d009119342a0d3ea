"""The Open Inference Protocol over gRPC: the six methods of ``inference.GRPCInferenceService``, over an
`InferenceHandler`.

In: messages. Out: messages, or a status with its reason. Texts come as ``bytes_contents`` or ``raw_input_contents`` and
outputs go out raw, as Triton does. The metadata ``authorization`` holds the key; ``x-request-id`` and
``x-model-version`` come back in the trailers.
"""

import asyncio
import logging
from typing import Any

from lft_ray.serve.http.asgi import MAX_BODY_BYTES
from lft_ray.serve.http.auth import ApiKeys
from lft_ray.serve.http.errors import HttpError, busy, request_id
from lft_ray.serve.http.strict_json import BadJson
from lft_ray.serve.protocols import kserve, tensors
from lft_ray.serve.protocols.base import InferenceRequest, InferenceResponse, check_model, check_texts
from lft_ray.serve.protocols.inference import InferenceHandler
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
from lft_ray.wire import Info

__all__ = ["GrpcService"]

logger = logging.getLogger("lft_ray.serve")

_OPEN = frozenset({"ServerLive", "ServerReady"})
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
    """Answers the six methods; each takes a message and the context of the call.

    Args:
        service: what answers.
        keys: who is let in; ServerLive and ServerReady are open.
        local_only: let in only callers of this machine. Ray's gRPC servers listen on all interfaces, whatever the
            endpoint's own address is.
    """

    def __init__(self, service: Service, *, keys: ApiKeys, local_only: bool) -> None:
        self._service = service
        self._answering = InferenceHandler(service)
        self._keys = keys
        self._local_only = local_only

    async def call(self, method: str, request: Any, context: Any) -> Any:
        """Answer one call.

        Args:
            method: such as ``ModelInfer``.
            request: its message; None: the bytes were none.
            context: of grpc.aio, or Ray Serve's.
        """
        import grpc

        metadata = {name: value for name, value in context.invocation_metadata() if isinstance(value, str)}
        own_id = request_id(metadata.get("x-request-id", ""))
        version = self._service.version
        answer = message(f"{method}Response")()
        try:
            self._check_caller(method, metadata.get("authorization", ""), context.peer())
            if request is None:
                raise BadJson(f"the bytes are no {method}Request", 400)
            version = await getattr(self, f"_{_snake(method)}")(request, answer, own_id) or version
        except (HttpError, BadJson) as refusal:
            # The status and not an exception: Ray would log a traceback for every bad request.
            context.set_code(getattr(grpc.StatusCode, _CODES.get(refusal.status, "INTERNAL")))
            context.set_details(str(refusal))
        except asyncio.CancelledError:
            raise
        except Exception:
            logger.exception("request %s failed", own_id)
            context.set_code(grpc.StatusCode.INTERNAL)
            context.set_details("internal error, see the server's log")
        context.set_trailing_metadata([("x-request-id", own_id), ("x-model-version", version)])
        return answer

    def _check_caller(self, method: str, authorization: str, peer: str) -> None:
        if self._local_only and not _is_local(peer):
            raise HttpError(403, "this endpoint answers callers of its own machine only")
        if method not in _OPEN and not self._keys.allow(authorization):
            raise HttpError(401, "a valid bearer key is needed in the metadata authorization")

    async def _server_live(self, _: ServerLiveRequest, answer: ServerLiveResponse, __: str) -> None:
        answer.live = True

    async def _server_ready(self, _: ServerReadyRequest, answer: ServerReadyResponse, __: str) -> None:
        answer.ready = bool(self._service.version)

    async def _model_ready(self, request: ModelReadyRequest, answer: ModelReadyResponse, _: str) -> None:
        self._info(request.name, request.version)
        answer.ready = True

    async def _server_metadata(self, _: ServerMetadataRequest, answer: ServerMetadataResponse, __: str) -> None:
        told = kserve.server_metadata()
        answer.name, answer.version = told["name"], told["version"]

    async def _model_metadata(self, request: ModelMetadataRequest, answer: ModelMetadataResponse, _: str) -> None:
        told = kserve.metadata(request.name, self._info(request.name, request.version))
        answer.name, answer.platform = told["name"], told["platform"]
        answer.versions.extend(told["versions"])
        for side in ("inputs", "outputs"):
            for tensor in told[side]:
                getattr(answer, side).add(**tensor)

    async def _model_infer(self, request: ModelInferRequest, answer: ModelInferResponse, own_id: str) -> str:
        self._info(request.model_name, request.model_version)
        wanted = [output.name for output in request.outputs] or list(kserve.OUTPUTS)
        kserve.check_outputs(wanted)
        texts = _texts(request)
        told = await self._answering.tell(InferenceRequest(texts), own_id)
        _fill(answer, wanted, told)
        answer.id = request.id
        return told.info.version

    def _info(self, name: str, version: str) -> Info:
        try:
            info = self._service.current.info
        except NotReady:
            raise busy("no model is ready yet") from None
        check_model(name, info)
        kserve.check_version(version, info)
        return info


def _texts(request: ModelInferRequest) -> list[str]:
    if len(request.inputs) != 1 or (request.inputs[0].name, request.inputs[0].datatype) != (kserve.INPUT, "BYTES"):
        raise BadJson(f"inputs must be one tensor: {kserve.INPUT}, of datatype BYTES", 422)
    tensor, raw = request.inputs[0], request.raw_input_contents
    if len(raw) > 1 or (raw and tensor.HasField("contents")):
        raise BadJson("the texts must stand in contents or in raw_input_contents, and once", 422)
    if sum(map(len, raw or tensor.contents.bytes_contents)) > MAX_BODY_BYTES:
        raise HttpError(413, f"the texts are over the limit of {MAX_BODY_BYTES} bytes")
    found = tensors.unpack_texts(raw[0]) if raw else [tensors.decode(one) for one in tensor.contents.bytes_contents]
    texts = check_texts(found, where="inputs")
    kserve.check_shape(tensor.shape, len(texts))
    return texts


def _fill(answer: ModelInferResponse, wanted: list[str], told: InferenceResponse) -> None:
    answer.model_name, answer.model_version = told.info.model, told.info.version
    for name in wanted:
        tensor, values = kserve.output_tensor(name, told)
        answer.outputs.add(**tensor)
        pack = tensors.pack_texts if tensor["datatype"] == "BYTES" else tensors.pack_floats
        answer.raw_output_contents.append(pack(values))
    if any(told.cut):
        numbers = (str(number) for number, cut in enumerate(told.cut) if cut)
        answer.parameters["truncated"].string_param = ",".join(numbers)


def _snake(method: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in method).lstrip("_")


def _is_local(peer: str) -> bool:
    # grpc writes a peer as ipv4:127.0.0.1:4711, ipv6:[::1]:4711 or unix:path, in some versions percent-encoded.
    address = peer.lower().replace("%5b", "[").replace("%5d", "]")
    return address.startswith(("ipv4:127.", "ipv6:[::1]", "ipv6:[::ffff:127.", "unix:"))
