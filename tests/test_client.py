import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lft_ray.client import Client
from lft_ray.errors import InputError, LftError, UnreachableError

INFO = {
    "model": "minilm:1", "version": "v1", "task": "classification", "labels": ["a", "b"], "max_length": 32,
    "max_batch": 3, "max_body_bytes": 2000, "engine": "torch", "precision": "fp32",
}  # fmt: skip


@contextmanager
def server(answer: Callable[[str, dict | None], tuple[int, object]]) -> Iterator[tuple[str, list]]:
    """A real HTTP server; ``answer(path, body)`` returns status and JSON, or a bytes body that is sent as text."""
    seen: list[tuple[str, dict | None, dict]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.reply(None)

        def do_POST(self):
            self.reply(json.loads(self.rfile.read(int(self.headers["content-length"]))))

        def reply(self, body):
            seen.append((self.path, body, dict(self.headers)))
            status, value = answer(self.path, body)
            payload = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-type", "text/plain" if isinstance(value, bytes) else "application/json")
            self.send_header("content-length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
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


def test_many_texts_are_sent_in_batches_and_come_back_in_order():
    texts = [f"text {n}" for n in range(8)]
    with server(echo) as (url, seen), Client(url, api_key="k") as client:
        answers = client.predict(texts, top_k=1)
    assert [scores[0].label for scores in answers] == texts
    bodies = [body for path, body, _ in seen if path == "/"]
    assert [len(body["inputs"]) for body in bodies] == [3, 3, 2]
    assert bodies[0]["parameters"] == {"top_k": 1}
    assert seen[0][2]["authorization"] == "Bearer k"


def test_a_batch_stays_below_the_body_limit():
    with server(echo) as (url, seen), Client(url) as client:
        assert len(client.predict(['"' * 500, "é" * 400, "c" * 500])) == 3
    sizes = [int(headers["Content-Length"]) for path, _, headers in seen if path == "/"]
    assert len(sizes) > 1
    assert max(sizes) <= INFO["max_body_bytes"]


def test_no_texts_are_no_request():
    with server(echo) as (url, seen), Client(url) as client:
        assert client.predict([]) == []
    assert seen == []


@pytest.mark.parametrize("failure", [(503, {"error": "busy"}), (502, b"bad gateway"), (504, b""), (500, b"Internal")])
def test_busy_servers_and_dying_replicas_are_asked_again(failure):
    left = [failure, failure]

    def answer(path, body):
        return left.pop() if path == "/" and left else echo(path, body)

    with server(answer) as (url, _), Client(url, retries=2) as client:
        assert client.predict(["a"])[0][0].label == "a"


def test_an_error_of_ours_is_not_asked_again():
    body = {"error": "internal error", "error_type": "internal_server_error", "request_id": "1"}
    with serving(500, body) as (url, seen), Client(url) as client, pytest.raises(LftError, match="internal error"):
        client.predict(["a"])
    assert len(seen) == 2


def test_a_refusal_is_an_input_error_with_the_reason():
    body = {"error": "a text is empty", "error_type": "unprocessable_entity", "request_id": "1"}
    with serving(422, body) as (url, _), Client(url) as client, pytest.raises(InputError, match="a text is empty"):
        client.predict(["a"])


def test_a_stranger_is_told_from_an_endpoint():
    with serving(200, {"hello": 1}) as (url, _), Client(url) as client, pytest.raises(LftError, match="not a text"):
        client.predict(["a"])


def test_nobody_there_is_unreachable():
    with server(echo) as (url, _):
        pass
    with Client(url, retries=1) as client:
        assert not client.health()
        with pytest.raises(UnreachableError) as raised:
            client.predict(["a"])
    assert raised.value.exit_code == 4


def test_health_asks_for_readiness():
    with server(lambda path, _: (503 if path == "/ready" else 200, {})) as (url, _), Client(url) as client:
        assert not client.health()


@pytest.mark.parametrize("texts", ["one text", ["a", 3], ["\ud800"]])
def test_what_is_not_a_list_of_texts_is_refused_before_it_is_sent(texts):
    with server(echo) as (url, seen), Client(url) as client, pytest.raises(InputError):
        client.predict(texts)
    assert [path for path, _, _ in seen if path == "/"] == []


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://host", "http://", "http://host:port"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(InputError):
        Client(url)


def test_the_client_is_light():
    import subprocess
    import sys

    code = (
        "import sys, lft_ray.client; print([m for m in ('ray', 'torch', 'transformers', 'numpy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
