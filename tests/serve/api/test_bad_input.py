"""Invalid requests: every way in which a request can be bad gets the right status, in every protocol."""

import asyncio
import gzip
import json
import socket
import time

import httpx
import pytest

from lft_ray.serve.api.app import create_app
from lft_ray.serve.http import asgi
from lft_ray.serve.http.asgi import MAX_BODY_BYTES
from lft_ray.serve.http.auth import ApiKeys, hash_keys
from lft_ray.serve.protocols.base import MAX_BATCH
from lft_ray.serve.rollout.service import Service
from lft_ray.wire import ErrorBody
from tests.serve.conftest import client_of, make_service
from tests.serve.running import running

pytestmark = pytest.mark.anyio
JSON = {"content-type": "application/json"}

# How one text, as JSON, stands in the body of each protocol.
BODIES = {
    "/": b'{"inputs": [%b]}',
    "/invocations": b'{"inputs": [%b]}',
    "/predict": b'{"inputs": [[%b]]}',
    "/v1/classify": b'{"input": [%b]}',
    "/v2/models/classifier/infer": b'{"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [%b]}]}',
}
DEEP = b"[" * 100_000 + b"]" * 100_000


def twice(body: bytes) -> bytes:
    """The body with its first key repeated."""
    return b"{" + body[1:-1] + b", " + body[1:]


def many(body: bytes) -> bytes:
    return (body % b", ".join([b'"a"'] * 10_000)).replace(b'"], ["', b'"], ["')


# One row a kind of bad body: what is sent, made of the body's form, then the statuses that may answer it.
BAD_BODIES = {
    "broken JSON": (lambda form: form % b'"a"' + b"}", {400}),
    "empty": (lambda form: b"", {400}),
    "a missing key": (lambda form: b"{}", {422}),
    "no object": (lambda form: b"[1]", {422}),
    "a number for a text": (lambda form: form % b"1", {422}),
    "null for a text": (lambda form: form % b"null", {422}),
    "an object for a text": (lambda form: form % b'{"hunter2": "hunter2"}', {422}),
    "an empty text": (lambda form: form % b'""', {422}),
    "a text of blanks": (lambda form: form % b'" \\t\\n"', {422}),
    "a text of zero-width characters": (lambda form: form % b'"\\u200b\\u200d\\ufeff"', {422}),
    "a text of NUL": (lambda form: form % b'"\\u0000"', {422}),
    "a key with half a surrogate pair": (lambda form: b'{"\\ud800": 1, ' + (form % b'"a"')[1:], {422}),
    "no text": (lambda form: form % b"", {422}),
    "10,000 texts": (many, {413, 422}),  # for text-embeddings-inference they stand in one list, which is no batch
    "invalid UTF-8": (lambda form: form % b'"\xff\xfe"', {400}),
    "half a surrogate pair": (lambda form: form % b'"\\ud800"', {422}),
    "NaN": (lambda form: form % b"NaN", {422}),
    "Infinity": (lambda form: form % b"-Infinity", {422}),
    "a number too large for a float": (lambda form: form % b"1e999", {422}),
    "6,000 digits": (lambda form: form % (b"1" * 6000), {400, 422}),
    "100,000 levels": (lambda form: form % DEEP, {400}),
    "a key twice": (lambda form: twice(form % b'"a"'), {422}),
    "an unknown key": (lambda form: b'{"hunter2": 1, ' + (form % b'"a"')[1:], {422}),
    "over 1 MiB": (lambda form: form % (b'"' + b"a" * MAX_BODY_BYTES + b'"'), {413}),
}


def assert_refused(response: httpx.Response, statuses: set[int]) -> ErrorBody:
    assert response.status_code in statuses, response.text
    body = ErrorBody.model_validate_json(response.content)
    assert body.request_id == response.headers["x-request-id"]
    assert ("x-model-version" in response.headers) == (response.status_code != 401)
    assert "Traceback" not in response.text
    assert "hunter2" not in response.text
    return body


@pytest.mark.parametrize("kind", BAD_BODIES)
async def test_bad_bodies(http, kind):
    make, statuses = BAD_BODIES[kind]
    for path, form in BODIES.items():
        assert_refused(await http.post(path, content=make(form), headers=JSON), statuses)


async def test_a_good_body_of_each_form_is_answered(http):
    for path, form in BODIES.items():
        assert (await http.post(path, content=form % b'"a"', headers=JSON)).status_code == 200


async def test_a_wrong_content_type_is_415_and_so_is_any_encoding(http):
    bomb = gzip.compress(b"a" * 10_000_000)
    for path, form in BODIES.items():
        for kind in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1"):
            response = await http.post(path, content=form % b'"a"', headers={"content-type": kind})
            assert_refused(response, {415})
        for encoding in ("gzip", "deflate", "br", "identity, gzip"):
            response = await http.post(path, content=bomb, headers=JSON | {"content-encoding": encoding})
            assert_refused(response, {415})


async def test_a_body_without_a_length_is_cut_off_at_the_limit(http):
    sent = 0

    async def chunks():
        nonlocal sent
        for _ in range(1000):
            sent += 65536
            yield b"a" * 65536

    for path in BODIES:
        sent = 0
        assert_refused(await http.post(path, content=chunks(), headers=JSON), {413})
        assert sent < 65536 * 1000


async def test_a_text_that_is_too_long_is_flagged_or_refused(http):
    text = json.dumps("b " * 100).encode()
    for path, form in BODIES.items():
        response = await http.post(path, content=form % text, headers=JSON)
        assert (response.status_code, response.headers["x-truncated"]) == (200, "0")
    refused = await http.post("/predict", json={"inputs": "b " * 100, "truncate": False})
    assert_refused(refused, {413})


async def test_wrong_methods_paths_and_models(http):
    for path in (*BODIES, "/predict"):
        if path != "/":
            assert_refused(await http.get(path), {405})
        assert_refused(await http.put(path, json={}), {405})
    for path in (
        "/nowhere",
        "/v2/models",
        "/v2/models/",
        "/v2/models/other/infer",
        "/%2e%2e/etc/passwd",
        "/%00",
    ):
        response = await http.post(path, content=BODIES["/v2/models/classifier/infer"] % b'"a"', headers=JSON)
        assert_refused(response, {404, 405})
    for path in ("/v2/models/other", "/v2/models/other/ready", "/v2/models/classifier/versions/1/ready"):
        assert_refused(await http.get(path), {404})


async def test_a_bad_key_is_401_in_every_protocol(service):
    async with client_of(service, ApiKeys(hash_keys("first"))) as http:
        for path, form in BODIES.items():
            for headers in ({}, {"authorization": "Bearer other"}, {"authorization": "Bearer \xff"}):
                raw = {name: value.encode("latin-1") for name, value in headers.items()}
                response = await http.post(path, content=form % b'"a"', headers=JSON | raw)
                assert_refused(response, {401})
                assert response.headers["www-authenticate"] == "Bearer"
            ok = await http.post(path, content=form % b'"a"', headers=JSON | {"authorization": "Bearer first"})
            assert ok.status_code == 200


async def test_a_full_queue_is_503_or_429_with_retry_after_in_every_protocol():
    service = await make_service(pause_s=0.05)
    async with client_of(service) as http:
        texts = json.dumps(["a"] * MAX_BATCH)[1:-1].encode()
        filling = [asyncio.create_task(service.predict(["a"] * MAX_BATCH)) for _ in range(9)]
        await asyncio.sleep(0)
        for path in ("/", "/invocations", "/v1/classify"):
            response = await http.post(path, content=BODIES[path] % texts, headers=JSON)
            assert_refused(response, {503})
            assert response.headers["retry-after"]
        for task in filling:
            task.cancel()
        await asyncio.gather(*filling, return_exceptions=True)
    await service.current.retire()


async def test_before_a_model_is_open_it_lives_and_is_not_ready():
    async with client_of(Service(lambda _: None)) as http:
        for path in ("/health", "/v2/health/live", "/v2", "/metrics", "/docs", "/openapi.json"):
            assert (await http.get(path)).status_code == 200
        for path in ("/ready", "/ping", "/info", "/v2/health/ready", "/v2/models/classifier/ready"):
            assert assert_refused(await http.get(path), {503})
        for path, form in BODIES.items():
            response = await http.post(path, content=form % b'"a"', headers=JSON)
            assert_refused(response, {503})
            assert response.headers["retry-after"]


async def test_markup_and_format_strings_are_inert(http, caplog):
    for text in ("<script>alert(1)</script>", "%s%n{0.__class__}", "${jndi:ldap://x}", "\x1b[31m", "=1+1"):
        for path, form in BODIES.items():
            response = await http.post(path, content=form % json.dumps(text).encode(), headers=JSON)
            assert response.status_code == 200
            assert response.headers["content-type"].startswith("application/")
            assert text not in response.text
        unknown = await http.post("/", json={text: 1})
        assert text not in assert_refused(unknown, {422}).error
        assert text not in caplog.text
    assert (await http.get("/health", headers={"x-request-id": "<b>"})).headers["x-request-id"] != "<b>"


async def test_a_client_that_leaves_takes_its_texts_out_of_the_queue():
    service = await make_service(pause_s=0.2)
    app = create_app(service)
    body = json.dumps({"inputs": ["a"] * MAX_BATCH}).encode()
    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(_):
        raise AssertionError("nobody is there")

    tasks = [asyncio.create_task(app(scope, receive, send)) for _ in range(4)]
    await asyncio.sleep(0.05)
    assert service.current.queued > MAX_BATCH
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    # What one worker has already taken still runs; nothing else waits.
    assert service.current.queued <= MAX_BATCH
    await service.current.retire()
    assert service.current.queued == 0


# ---------------------------------------------------------------- on a real socket


def exchange_raw(port: int, data: bytes, *, wait_s: float = 20.0, close: bool = False) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=wait_s) as connection:
        connection.sendall(data)
        if close:
            return b""
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        return answer


def test_lengths_that_lie_and_clients_that_stall_or_leave(monkeypatch):
    monkeypatch.setattr(asgi, "BODY_SECONDS", 0.3)
    head = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    with running() as live:
        for path in BODIES:
            begun = head % path.encode()
            # A length that promises more than comes: cut off after the time for a body, and the connection with it.
            answer = exchange_raw(live.port, begun + b"content-length: 1000\r\n\r\n{")
            assert answer.startswith(b"HTTP/1.1 408"), answer
            assert b"connection: close" in answer
            # One that promises less: the rest is no second request.
            answer = exchange_raw(live.port, begun + b'content-length: 5\r\n\r\n{"inputs": "a"}')
            assert answer.startswith(b"HTTP/1.1 400"), answer
            # The client leaves in the middle of its body.
            exchange_raw(live.port, begun + b"content-length: 1000\r\n\r\n{", close=True)
            answer = exchange_raw(live.port, begun + b"content-length: 5000000\r\n\r\n{")
            assert answer.startswith(b"HTTP/1.1 413"), answer
        for length in (b"-1", b"x", b"1" * 40):
            answer = exchange_raw(live.port, head % b"/" + b"content-length: %b\r\n\r\n{}" % length)
            assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 413")), answer
        # Nothing of it is left, and the endpoint answers as before.
        assert httpx.post(live.url, json={"inputs": "a"}).status_code == 200
        assert live.service.current.queued == 0


def test_a_request_that_takes_too_long_is_503(monkeypatch):
    from lft_ray.serve.protocols import inference

    monkeypatch.setattr(inference, "RESPONSE_SECONDS", 0.2)

    async def ask() -> httpx.Response:
        service = await make_service(pause_s=1.5)
        async with client_of(service) as http:
            begun = time.monotonic()
            response = await http.post("/", json={"inputs": "a"})
            assert time.monotonic() - begun < 1.4
        await service.current.retire()
        return response

    response = asyncio.run(ask())
    assert_refused(response, {503})
    assert response.headers["retry-after"]
