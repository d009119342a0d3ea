import pytest

from lft_ray.serve.http import asgi
from lft_ray.serve.http.asgi import MAX_BODY_BYTES, ClientDisconnected, Request, Response, send_response
from lft_ray.serve.http.errors import HttpError

pytestmark = pytest.mark.anyio

JSON_ONLY = frozenset({"application/json"})


def request_of(*messages, **headers) -> Request:
    """A request whose ``receive`` returns these messages, then waits for ever."""
    pending = list(messages)

    async def receive():
        return pending.pop(0)

    encoded = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"headers": encoded}, receive)


def part(body: bytes, *, more: bool = False) -> dict:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_read_body_joins_its_parts():
    request = request_of(part(b"ab", more=True), part(b"", more=True), part(b"c"), content_type="application/json")
    assert await request.read_body(JSON_ONLY) == b"abc"


async def test_read_body_stops_at_the_limit():
    half = b"a" * (MAX_BODY_BYTES // 2 + 1)
    request = request_of(part(half, more=True), part(half, more=True), content_type="application/json")
    with pytest.raises(HttpError, match="limit of 1048576 bytes") as raised:
        await request.read_body(JSON_ONLY)
    assert (raised.value.status, raised.value.headers) == (413, {"connection": "close"})


@pytest.mark.parametrize("length", [str(MAX_BODY_BYTES + 1), "9" * 40])
async def test_a_declared_length_over_the_limit_is_refused_without_reading(length):
    request = request_of(content_type="application/json", content_length=length)
    with pytest.raises(HttpError) as raised:
        await request.read_body(JSON_ONLY)
    assert raised.value.status == 413


async def test_read_body_raises_when_the_client_disconnects():
    request = request_of(part(b"{", more=True), {"type": "http.disconnect"}, content_type="application/json")
    with pytest.raises(ClientDisconnected):
        await request.read_body(JSON_ONLY)


async def test_a_slow_body_is_408(monkeypatch):
    import asyncio

    monkeypatch.setattr(asgi, "BODY_SECONDS", 0.01)
    request = Request({"headers": [(b"content-type", b"application/json")]}, lambda: asyncio.sleep(5))
    with pytest.raises(HttpError) as raised:
        await request.read_body(JSON_ONLY)
    assert raised.value.status == 408


@pytest.mark.parametrize(
    ("content_type", "media_types", "is_accepted"),
    [
        ("application/json", JSON_ONLY, True),
        ('Application/JSON; charset="utf-8"', JSON_ONLY, True),
        ("application/json; charset=latin-1", JSON_ONLY, False),
        ("text/plain", JSON_ONLY, False),
        ("", JSON_ONLY, False),
        ("", frozenset({""}), True),
        ("application/json", frozenset({"application/octet-stream"}), False),
    ],
)
async def test_content_types(content_type, media_types, is_accepted):
    request = request_of(part(b"{}"), content_type=content_type)
    if is_accepted:
        assert await request.read_body(media_types) == b"{}"
    else:
        with pytest.raises(HttpError) as raised:
            await request.read_body(media_types)
        assert raised.value.status == 415


@pytest.mark.parametrize(("encoding", "is_accepted"), [("identity", True), (" Identity ", True), ("gzip", False)])
async def test_content_encodings(encoding, is_accepted):
    request = request_of(part(b"{}"), content_type="application/json", content_encoding=encoding)
    if is_accepted:
        assert await request.read_body(JSON_ONLY) == b"{}"
    else:
        with pytest.raises(HttpError, match="send the body uncompressed"):
            await request.read_body(JSON_ONLY)


@pytest.mark.parametrize(("with_body", "body"), [(True, b"{}"), (False, b"")])
async def test_a_response_to_head_has_the_length_but_not_the_body(with_body, body):
    sent = []

    async def send(message):
        sent.append(message)

    response = Response(b"{}", status=201, headers={"retry-after": "1"})
    await send_response(send, response, extra_headers=[(b"x-model-version", b"v")], with_body=with_body)
    assert (sent[0]["status"], sent[1]["body"]) == (201, body)
    assert dict(sent[0]["headers"]) == {
        b"content-type": b"application/json",
        b"content-length": b"2",
        b"x-model-version": b"v",
        b"retry-after": b"1",
    }
