import asyncio
import contextlib
import json
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lft_ray.client import AsyncClient, Client, RetryPolicy, retry_after_s
from lft_ray.errors import InputError, LftError, UnreachableError

INFO = {
    "model": "minilm:1", "version": "v1", "task": "classification", "labels": ["a", "b"], "max_length": 32,
    "max_batch": 3, "max_body_bytes": 2000, "engine": "torch", "precision": "fp32",
}  # fmt: skip


RESET = object()


class Quiet(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """A connection that was reset on purpose is no news."""


class Blocking:
    """`AsyncClient` with the methods of `Client`, so that one test asks both."""

    def __init__(self, url, **options):
        self.runner = asyncio.Runner()
        self.client = AsyncClient(url, **options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.runner.run(self.client.close())
        self.runner.close()

    def predict(self, *arguments, **options):
        return self.runner.run(self.client.predict(*arguments, **options))

    def answer(self, *arguments, **options):
        return self.runner.run(self.client.answer(*arguments, **options))

    def info(self):
        return self.runner.run(self.client.info())

    def health(self):
        return self.runner.run(self.client.health())


@pytest.fixture(params=[Client, Blocking], ids=["blocking", "async"])
def connect(request):
    return request.param


@contextmanager
def server(answer: Callable[[str, dict | None], object]) -> Iterator[tuple[str, list]]:
    """A real HTTP server; ``answer(path, body)`` returns status and JSON, or a bytes body that is sent as text, and
    perhaps headers; or RESET."""
    seen: list[tuple[str, dict | None, dict]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.reply(None)

        def do_POST(self):
            self.reply(json.loads(self.rfile.read(int(self.headers["content-length"]))))

        def reply(self, body):
            seen.append((self.path, body, dict(self.headers)))
            found = answer(self.path, body)
            if found is RESET:
                # Closing with a linger time of 0 sends RST, as a killed process's kernel does.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                return
            status, value, *more = found
            payload = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-type", "text/plain" if isinstance(value, bytes) else "application/json")
            self.send_header("content-length", str(len(payload)))
            for name, text in (more[0] if more else {}).items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_):
            pass

    running = Quiet(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}", seen
    finally:
        running.shutdown()
        thread.join()
        running.server_close()


def echo(path: str, body: dict | None) -> tuple[int, object]:
    if path == "/info":
        return 200, INFO
    return 200, [[{"label": text, "score": 1.0}] for text in (body or {}).get("inputs", [])]


def serving(status: int, body: object):
    """A server that gives every request for answers the same one."""
    return server(lambda path, _: (200, INFO) if path == "/info" else (status, body))


def test_many_texts_are_sent_in_batches_and_come_back_in_order(connect):
    texts = [f"text {n}" for n in range(8)]
    with server(echo) as (url, seen), connect(url, api_key="k") as client:
        answers = client.predict(texts, top_k=1)
    assert [scores[0].label for scores in answers] == texts
    bodies = [body for path, body, _ in seen if path == "/"]
    assert sorted(len(body["inputs"]) for body in bodies) == [2, 3, 3]
    assert bodies[0]["parameters"] == {"top_k": 1}
    assert {headers["authorization"] for _, _, headers in seen} == {"Bearer k"}
    assert len({headers["x-request-id"] for _, _, headers in seen}) == len(seen)


def test_a_batch_stays_below_the_body_limit(connect):
    with server(echo) as (url, seen), connect(url) as client:
        assert len(client.predict(['"' * 500, "é" * 400, "c" * 500])) == 3
    sizes = [int(headers["Content-Length"]) for path, _, headers in seen if path == "/"]
    assert len(sizes) > 1
    assert max(sizes) <= INFO["max_body_bytes"]


def test_no_texts_are_no_request(connect):
    with server(echo) as (url, seen), connect(url) as client:
        assert client.predict([]) == []
    assert seen == []


@pytest.mark.parametrize("failure", [(503, {"error": "busy"}), (502, b"bad gateway"), (504, b""), (500, b"Internal")])
def test_overloaded_servers_and_dying_replicas_are_retried(connect, failure):
    left = [failure, failure]

    def answer(path, body):
        return left.pop() if path == "/" and left else echo(path, body)

    with server(answer) as (url, _), connect(url, retries=2) as client:
        assert client.predict(["a"])[0][0].label == "a"


def test_an_internal_error_of_the_endpoint_is_not_retried(connect):
    body = {"error": "internal error", "error_type": "internal_server_error", "request_id": "1"}
    with serving(500, body) as (url, seen), connect(url) as client, pytest.raises(LftError, match="internal error"):
        client.predict(["a"])
    assert len(seen) == 2


def test_a_refusal_is_an_input_error_with_the_reason(connect):
    body = {"error": "a text is empty", "error_type": "unprocessable_entity", "request_id": "1"}
    with serving(422, body) as (url, _), connect(url) as client, pytest.raises(InputError, match="a text is empty"):
        client.predict(["a"])


def test_a_stranger_is_told_from_an_endpoint(connect):
    with (
        serving(200, {"hello": 1}) as (url, _),
        connect(url) as client,
        pytest.raises(LftError, match="not an endpoint"),
    ):
        client.predict(["a"])


def test_nobody_there_is_unreachable(connect):
    with server(echo) as (url, _):
        pass
    with connect(url, retries=1) as client:
        assert not client.health()
        with pytest.raises(UnreachableError) as raised:
            client.predict(["a"])
    assert raised.value.exit_code == 4


def test_health_asks_for_readiness(connect):
    with server(lambda path, _: (503 if path == "/ready" else 200, {})) as (url, _), connect(url) as client:
        assert not client.health()


@pytest.mark.parametrize("texts", ["one text", ["a", 3], ["\ud800"]])
def test_what_is_not_a_list_of_texts_is_refused_before_it_is_sent(connect, texts):
    with server(echo) as (url, seen), connect(url) as client, pytest.raises(InputError):
        client.predict(texts)
    assert [path for path, _, _ in seen if path == "/"] == []


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8000", "ftp://host", "http://", "http://host:port", "http://a:0", "http://a:99999", "http://a?b=c"],
)
def test_an_address_that_is_none_is_refused(connect, url):
    with pytest.raises(InputError):
        connect(url)


def scripted(*failures):
    """A server that fails at the first prediction requests in these ways, and then succeeds."""
    left = list(failures)

    def answer(path, body):
        if path == "/" and left:
            failure = left.pop(0)
            return failure() if callable(failure) else failure
        return echo(path, body)

    return server(answer)


def test_a_connection_that_is_reset_is_opened_again_with_the_same_request_id(connect):
    with scripted(RESET, RESET) as (url, seen), connect(url) as client:
        assert client.predict(["a"])[0][0].label == "a"
    ids = [headers["x-request-id"] for path, _, headers in seen if path == "/"]
    assert len(ids) == 3
    assert len(set(ids)) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_obeyed(connect, status):
    with scripted((status, {"error": "busy"}, {"retry-after": "1"})) as (url, _), connect(url) as client:
        begun = time.monotonic()
        assert client.predict(["a"])[0][0].label == "a"
        assert time.monotonic() - begun >= 1.0


def test_a_wait_beyond_the_deadline_is_not_begun(connect):
    with scripted((503, {}, {"retry-after": "3600"})) as (url, seen), connect(url, deadline_s=20.0) as client:
        begun = time.monotonic()
        with pytest.raises(
            UnreachableError, match=r"HTTP 503, and the deadline of 20 s leaves no time .* \(1 attempt\)"
        ):
            client.predict(["a"])
        assert time.monotonic() - begun < 15.0
    assert [path for path, _, _ in seen] == ["/info", "/"]


def test_a_slow_response_times_out_and_is_retried(connect):
    def slow():
        time.sleep(1.5)
        return 200, []

    with scripted(slow) as (url, _), connect(url, timeout_s=0.5) as client:
        assert client.predict(["a"])[0][0].label == "a"


def test_the_deadline_covers_all_attempts(connect):
    def never():
        time.sleep(0.6)
        return RESET

    with (
        scripted(*[never] * 50) as (url, seen),
        connect(url, retries=50, deadline_s=2.0) as client,
        pytest.raises(UnreachableError, match="the deadline of 2 s leaves no time"),
    ):
        client.predict(["a"])
    assert 2 <= len(seen) <= 6


def test_waits_are_random_and_grow(monkeypatch):
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    attempts = RetryPolicy("http://host", 7, 1000.0).attempts()
    waits = [attempts.send(None).wait_s] + [attempts.send(OSError("gone")).wait_s for _ in range(7)]
    assert waits == pytest.approx([0.0, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])
    with pytest.raises(UnreachableError, match="8 attempts"):
        attempts.send(OSError("gone"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [("7", 7.0), ("", 0.0), ("soon", 0.0), ("-3", 0.0), (b"\xb2", 0.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0)],
)
def test_what_retry_after_says(value, expected):
    import httpx

    assert retry_after_s(httpx.Response(503, headers={"retry-after": value})) == expected
    due = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert 90.0 < retry_after_s(httpx.Response(503, headers={"retry-after": due})) <= 100.0


def test_requests_of_many_texts_run_concurrently_up_to_the_limit():
    in_flight, most, lock = 0, 0, threading.Lock()

    def answer(path, body):
        nonlocal in_flight, most
        with lock:
            in_flight += 1
            most = max(most, in_flight)
        time.sleep(0.1)
        with lock:
            in_flight -= 1
        return echo(path, body)

    texts = [f"text {n}" for n in range(30)]
    with server(answer) as (url, _), Blocking(url, connections=4) as client:
        assert [scores[0].label for scores in client.predict(texts)] == texts
    assert most == 4


def test_of_parts_that_fail_the_reason_is_told():
    body = {"error": "a text is empty", "error_type": "unprocessable_entity", "request_id": "1"}
    with serving(422, body) as (url, _), Blocking(url) as client, pytest.raises(InputError, match="a text is empty"):
        client.predict([f"text {n}" for n in range(30)])


def test_the_client_is_light():
    import subprocess
    import sys

    code = (
        "import sys, lft_ray.client; print([m for m in ('ray', 'torch', 'transformers', 'numpy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# ---------------------------------------------------------------- answers that are not those of an endpoint

ROW = [{"label": "a", "score": 1.0}]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([], "returned 0 rows for 2 texts"),
        ([ROW], "returned 1 rows for 2 texts"),
        ([ROW, ROW, ROW], "returned 3 rows for 2 texts"),
        ([ROW, []], "without labels"),
        (b'[[{"label": "a", "score": NaN}], [{"label": "a", "score": 1}]]', "not a number"),
    ],
)
def test_an_answer_that_does_not_fit_the_texts_is_never_taken(connect, rows, says):
    with serving(200, rows) as (url, _), connect(url) as client, pytest.raises(LftError, match=says):
        client.predict(["x", "y"])


def test_an_endpoint_that_says_more_than_this_client_knows_is_understood(connect):
    newer = [[{"label": "a", "score": 1.0, "rank": 1}]]
    with serving(200, newer) as (url, _), connect(url) as client:
        assert client.predict(["x"])[0][0].label == "a"


@pytest.mark.parametrize(
    "body",
    [
        {"error": "why", "error_type": "t", "request_id": "1", "more": 1},
        {"error": "why", "error_type": "validation"},
        {"message": "why"},
        {"error": {"code": 7}, "detail": "why"},
    ],
)
def test_the_reason_is_told_whoever_gives_it(connect, body):
    with serving(403, body) as (url, _), connect(url) as client, pytest.raises(InputError, match="403: why"):
        client.predict(["x"])


def test_a_redirect_names_where_to(connect):
    moved = (308, b"", {"location": "https://host/"})
    with scripted(moved) as (url, _), connect(url) as client, pytest.raises(InputError, match="redirects to https"):
        client.predict(["x"])


def test_a_body_that_cannot_be_decoded_is_a_strangers(connect):
    packed = (200, b"not gzip", {"content-encoding": "gzip"})
    with scripted(packed) as (url, _), connect(url) as client, pytest.raises(LftError, match="not an endpoint"):
        client.predict(["x"])


def test_a_body_that_arrived_too_slowly_is_sent_again(connect):
    with scripted((408, {"error": "the body did not arrive"})) as (url, _), connect(url) as client:
        assert client.predict(["a"])[0][0].label == "a"


@contextmanager
def trickling() -> Iterator[str]:
    """A server that describes a model, and answers every other request with a byte each 50 ms, for a minute."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def answer(client: socket.socket) -> None:
        info = json.dumps(INFO).encode()
        with client:
            is_info = client.recv(65536).startswith(b"GET")
            length = len(info) if is_info else 100_000
            client.sendall(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % length)
            if is_info:
                client.sendall(info)
                return
            with contextlib.suppress(OSError):
                for _ in range(1200):
                    client.sendall(b" ")
                    if ended.wait(0.05):
                        return

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def test_the_deadline_ends_a_response_that_trickles(connect):
    with trickling() as url, connect(url, deadline_s=1.0) as client:
        begun = time.monotonic()
        with pytest.raises(UnreachableError, match="the deadline of 1 s"):
            client.predict(["a"])
        assert time.monotonic() - begun < 30.0


def test_a_text_that_no_request_can_hold_is_named_before_it_is_sent(connect):
    with server(echo) as (url, seen), connect(url) as client, pytest.raises(InputError, match="begins 'long long"):
        client.predict(["short", "long " * 500])
    assert [path for path, _, _ in seen if path == "/"] == []


@pytest.mark.parametrize("key", ["schlüssel", "two\nlines", "k\0"])
def test_a_key_that_no_header_carries_is_refused_by_name(connect, key):
    with pytest.raises(InputError, match="API key"):
        connect("http://127.0.0.1:1", api_key=key)


class Table(list):
    ndim = 2


@pytest.mark.parametrize(
    "texts", [{"text": "a"}, {"a", "b"}, b"ab", Table(["text", "label"]), None, 3, ["a", " \u200b"]]
)
def test_what_would_be_read_as_other_texts_is_refused(connect, texts):
    with server(echo) as (url, seen), connect(url) as client, pytest.raises(InputError):
        client.predict(texts)
    assert [path for path, _, _ in seen if path == "/"] == []


def test_texts_may_come_from_a_generator(connect):
    with server(echo) as (url, _), connect(url) as client:
        assert [row[0].label for row in client.predict(text for text in "abcde")] == list("abcde")


def test_top_k_is_a_whole_number_of_any_kind(connect):
    import numpy as np

    with server(echo) as (url, seen), connect(url) as client:
        client.predict(["a"], top_k=np.int64(2))
        for wrong in (1.0, True, "1"):
            with pytest.raises(InputError, match="top_k"):
                client.predict(["a"], top_k=wrong)
    assert [body["parameters"] for path, body, _ in seen if path == "/"] == [{"top_k": 2}]


def test_a_client_that_is_closed_says_so_once(connect):
    with server(echo) as (url, _):
        with connect(url) as client:
            client.predict(["a"])
        with pytest.raises(RuntimeError, match="closed"):
            Client.predict(client, ["a"]) if connect is Client else asyncio.run(client.client.predict(["a"] * 9))


def test_a_password_in_the_address_is_in_no_message(connect):
    with (
        serving(422, {"error": "why"}) as (url, _),
        connect(url.replace("://", "://me:hunter2@")) as client,
        pytest.raises(InputError) as refused,
    ):
        client.predict(["a"])
    with connect(url.replace("://", "://me:hunter2@"), retries=0) as client, pytest.raises(UnreachableError) as gone:
        client.predict(["a"])
    with pytest.raises(InputError) as bad:
        connect("http://me:hunter2@host:port")
    assert not [raised for raised in (refused, gone, bad) if "hunter2" in str(raised.value)]
