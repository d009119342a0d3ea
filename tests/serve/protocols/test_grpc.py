"""The Open Inference Protocol over gRPC, called by Triton's client and by plain stubs."""

import asyncio

import grpc
import numpy as np
import pytest

from lft_ray.serve.http.auth import ApiKeys, hash_keys
from lft_ray.serve.protocols import messages
from lft_ray.serve.protocols.base import MAX_BATCH
from lft_ray.serve.protocols.grpc import GrpcService
from lft_ray.serve.rollout.service import Service
from tests.serve.conftest import LABELS, make_service
from tests.serve.running import grpc_server, running

TEXTS = ["bbb", "s", "bbbb s"]


@pytest.fixture(scope="module")
def live():
    with running() as found:
        yield found


@pytest.fixture
def channel(live):
    with grpc.insecure_channel(f"127.0.0.1:{live.grpc_port}") as found:
        yield found


def call_method(channel, method: str, request, **more):
    call = channel.unary_unary(
        f"/{messages.SERVICE}/{method}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=messages.message(f"{method}Response").FromString,
    )
    return call(request, timeout=20, **more)


def infer_request(texts: list[bytes], **changes):
    request = messages.message("ModelInferRequest")(model_name="classifier", id="7")
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(texts)]} | changes
    request.inputs.add(**tensor).contents.bytes_contents.extend(texts)
    return request


# ---------------------------------------------------------------- answers


def test_tritons_client(live):
    from tritonclient import grpc as triton

    with triton.InferenceServerClient(f"127.0.0.1:{live.grpc_port}") as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("classifier")
        assert client.get_server_metadata().name == "lft_ray"
        metadata = client.get_model_metadata("classifier")
        assert [one.name for one in metadata.outputs] == ["label", "score", "probabilities"]
        text = triton.InferInput("text", [3], metadata.inputs[0].datatype)
        text.set_data_from_numpy(np.array(TEXTS, dtype=object))
        result = client.infer("classifier", [text], request_id="7")
        assert [one.decode() for one in result.as_numpy("label")] == ["business", "science", "business"]
        matrix = result.as_numpy("probabilities")
        assert (matrix.dtype, matrix.shape) == (np.float32, (3, len(LABELS)))
        assert matrix.max(axis=1) == pytest.approx(result.as_numpy("score"))
        assert (result.get_response().id, result.get_response().model_version) == ("7", "abc123abc123")
        one = client.infer("classifier", [text], outputs=[triton.InferRequestedOutput("score")])
        assert [output.name for output in one.get_response().outputs] == ["score"]


def test_a_plain_stub_sends_contents_and_gets_version_and_id_back(channel):
    call = channel.unary_unary(
        f"/{messages.SERVICE}/ModelInfer",
        request_serializer=messages.message("ModelInferRequest").SerializeToString,
        response_deserializer=messages.message("ModelInferResponse").FromString,
    )
    response, metadata_call = call.with_call(infer_request([b"bbb"]), timeout=20, metadata=(("x-request-id", "abc-1"),))
    assert response.raw_output_contents[0] == b"\x08\x00\x00\x00business"
    trailers = dict(metadata_call.trailing_metadata())
    assert (trailers["x-model-version"], trailers["x-request-id"]) == ("abc123abc123", "abc-1")
    cut = call(infer_request([b"b", b"b " * 40]), timeout=20)
    assert cut.parameters["truncated"].string_param == "1"


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (lambda: infer_request([]), "INVALID_ARGUMENT"),
        (lambda: infer_request([b"a"], name="txt"), "INVALID_ARGUMENT"),
        (lambda: infer_request([b"a"], datatype="INT32"), "INVALID_ARGUMENT"),
        (lambda: infer_request([b"a"], shape=[2]), "INVALID_ARGUMENT"),
        (lambda: infer_request([b"a"], shape=[-1]), "INVALID_ARGUMENT"),
        (lambda: infer_request([b"\xff"]), "INVALID_ARGUMENT"),
        (lambda: infer_request([b" "]), "INVALID_ARGUMENT"),
        (lambda: infer_request([b"a"] * (MAX_BATCH + 1)), "RESOURCE_EXHAUSTED"),
        (lambda: infer_request([b"a" * 2_000_000]), "RESOURCE_EXHAUSTED"),
        (lambda: infer_request([b"a" * (messages.MAX_MESSAGE_BYTES + 1)]), "RESOURCE_EXHAUSTED"),
        (lambda: messages.message("ModelInferRequest")(model_name="classifier"), "INVALID_ARGUMENT"),
        (lambda: messages.message("ModelInferRequest")(model_name="other"), "NOT_FOUND"),
        (lambda: messages.message("ModelInferRequest")(model_name="classifier", model_version="0"), "NOT_FOUND"),
    ],
)
def test_bad_requests_have_a_status_and_a_reason(channel, request_, code):
    with pytest.raises(grpc.RpcError) as raised:
        call_method(channel, "ModelInfer", request_())
    assert raised.value.code().name == code
    assert raised.value.details()
    assert "Traceback" not in raised.value.details()


def test_raw_tensors_that_do_not_fit_are_refused(channel):
    for raw in ([b"\x09\x00\x00\x00a"], [b"\x01"], [b"\x01\x00\x00\x00a"] * 2):
        request = infer_request([])
        request.inputs[0].ClearField("contents")
        request.inputs[0].shape[:] = [1]
        request.raw_input_contents.extend(raw)
        with pytest.raises(grpc.RpcError) as raised:
            call_method(channel, "ModelInfer", request)
        assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_bytes_that_are_no_message_are_a_status(channel):
    call = channel.unary_unary(f"/{messages.SERVICE}/ModelInfer")
    with pytest.raises(grpc.RpcError) as raised:
        call(b"\xff\xff\xff", timeout=20)
    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_keys_guard_all_but_the_servers_health():
    with (
        running(ApiKeys(hash_keys("first"))) as live,
        grpc.insecure_channel(f"127.0.0.1:{live.grpc_port}") as channel,
    ):
        assert call_method(channel, "ServerLive", messages.message("ServerLiveRequest")()).live
        assert call_method(channel, "ServerReady", messages.message("ServerReadyRequest")()).ready
        for metadata in ((), (("authorization", "Bearer other"),)):
            with pytest.raises(grpc.RpcError) as raised:
                call_method(channel, "ModelInfer", infer_request([b"a"]), metadata=metadata)
            assert raised.value.code() == grpc.StatusCode.UNAUTHENTICATED
        call_method(channel, "ModelInfer", infer_request([b"a"]), metadata=(("authorization", "Bearer first"),))


def test_the_version_is_told_to_holders_of_a_key_only():
    def trailers(channel, metadata=()):
        request = messages.message("ServerLiveRequest")()
        call = channel.unary_unary(
            f"/{messages.SERVICE}/ServerLive",
            type(request).SerializeToString,
            messages.message("ServerLiveResponse").FromString,
        )
        return dict(call.with_call(request, metadata=metadata, timeout=20)[1].trailing_metadata())

    with (
        running(ApiKeys(hash_keys("first"))) as live,
        grpc.insecure_channel(f"127.0.0.1:{live.grpc_port}") as channel,
    ):
        assert "x-model-version" not in trailers(channel)
        assert trailers(channel, (("authorization", "Bearer first"),))["x-model-version"] == "abc123abc123"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("peer", "may"),
    [
        ("ipv4:127.0.0.1:4711", True),
        ("ipv6:[::1]:4711", True),
        ("ipv6:%5B::1%5D:4711", True),
        ("ipv4:10.0.0.7:4711", False),
        ("ipv6:[2001:db8::1]:4711", False),
        ("", False),
    ],
)
async def test_local_only_rejects_calls_from_other_machines(service, peer, may):
    class Context:
        code = details = None

        def peer(self):
            return peer

        def invocation_metadata(self):
            return ()

        def set_code(self, code):
            self.code = code

        def set_details(self, details):
            self.details = details

        def set_trailing_metadata(self, metadata):
            self.trailers = metadata

    context = Context()
    response = await GrpcService(service, keys=ApiKeys(), local_only=True).call("ServerLive", object(), context)
    assert response.live is may
    assert (context.code is None) is may


@pytest.mark.anyio
async def test_before_a_model_is_open_the_server_is_live_not_ready_and_a_deadline_drops_the_texts():
    empty = grpc_server(GrpcService(Service(lambda _: None), keys=ApiKeys(), local_only=True))
    slow_service = await make_service(pause_s=0.3)
    slow = grpc_server(GrpcService(slow_service, keys=ApiKeys(), local_only=True))
    ports = [server.add_insecure_port("127.0.0.1:0") for server in (empty, slow)]
    for server in (empty, slow):
        await server.start()

    async def call(port, method, request, timeout_s=20.0):
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            method_call = channel.unary_unary(
                f"/{messages.SERVICE}/{method}",
                request_serializer=type(request).SerializeToString,
                response_deserializer=messages.message(f"{method}Response").FromString,
            )
            return await method_call(request, timeout=timeout_s)

    assert (await call(ports[0], "ServerLive", messages.message("ServerLiveRequest")())).live
    assert not (await call(ports[0], "ServerReady", messages.message("ServerReadyRequest")())).ready
    with pytest.raises(grpc.RpcError) as raised:
        await call(ports[0], "ModelInfer", infer_request([b"a"]))
    assert raised.value.code() == grpc.StatusCode.UNAVAILABLE

    first = asyncio.create_task(call(ports[1], "ModelInfer", infer_request([b"a"])))
    late = [call(ports[1], "ModelInfer", infer_request([b"a"] * MAX_BATCH), 0.1) for _ in range(4)]
    missed = await asyncio.gather(*late, return_exceptions=True)
    assert {error.code() for error in missed} == {grpc.StatusCode.DEADLINE_EXCEEDED}
    await first
    for _ in range(200):
        if not slow_service.current.queued:
            break
        await asyncio.sleep(0.05)
    assert slow_service.current.queued == 0
    for server in (empty, slow):
        await server.stop(0)
    await slow_service.current.retire()


# ---------------------------------------------------------------- metrics, parameters


def test_calls_are_counted_with_the_name_of_their_status(live):
    with grpc.insecure_channel(f"127.0.0.1:{live.grpc_port}") as channel:
        before = live.metrics.text().decode()
        call_method(channel, "ModelInfer", infer_request([b"bbb", b"b " * 40]))
        with pytest.raises(grpc.RpcError):
            call_method(channel, "ModelInfer", infer_request([b""]))
        after = live.metrics.text().decode()

    def grown(series: str) -> float:
        lines = [[line for line in text.splitlines() if line.startswith(series)] for text in (before, after)]
        first, last = (sum(float(line.rpartition(" ")[2]) for line in found) for found in lines)
        return last - first

    assert grown('lft_requests_total{protocol="grpc",status="OK"}') == 1
    assert grown('lft_requests_total{protocol="grpc",status="INVALID_ARGUMENT"}') == 1
    assert grown('lft_request_seconds_count{protocol="grpc",status="OK"}') == 1
    assert grown('lft_texts_total{protocol="grpc"}') == 2
    assert grown("lft_truncated_texts_total") == 1


def test_the_name_that_was_asked_for_is_echoed(channel):
    assert call_method(channel, "ModelInfer", infer_request([b"bbb"])).model_name == "classifier"


@pytest.mark.parametrize("place", ["request", "input", "output"])
def test_unknown_parameters_are_refused_as_over_rest(channel, place):
    request = infer_request([b"bbb"])
    output = request.outputs.add(name="label")
    holder = {"request": request, "input": request.inputs[0], "output": output}[place]
    holder.parameters["classification"].int64_param = 2
    with pytest.raises(grpc.RpcError) as raised:
        call_method(channel, "ModelInfer", request)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "classification is not supported" in raised.value.details()


def test_parameters_that_change_nothing_are_taken(channel):
    request = infer_request([b"bbb"])
    request.parameters["priority"].int64_param = 1
    request.inputs[0].parameters["content_type"].string_param = "str"
    assert call_method(channel, "ModelInfer", request).outputs[0].name == "label"
