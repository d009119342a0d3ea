"""``lft bench`` against a small HTTP server."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from typer.testing import CliRunner

from lft_ray.cli.app import app
from lft_ray.serve.loadgen import load_test

INFO = {
    "model": "minilm:1", "version": "v1", "task": "classification", "labels": ["a", "b"], "max_length": 32,
    "max_batch": 3, "max_body_bytes": 2000, "engine": "torch", "precision": "fp32",
}  # fmt: skip


@pytest.fixture
def invoke():
    return lambda *args: CliRunner().invoke(app, list(args))


class Keep(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.reply(INFO)

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.reply([[{"label": "a", "score": 1.0}]])

    def reply(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def endpoint():
    running = ThreadingHTTPServer(("127.0.0.1", 0), Keep)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}"
    finally:
        running.shutdown()
        thread.join()
        running.server_close()


def test_bench_measures_the_maximum_and_then_rates_below_it(invoke):
    with endpoint() as url:
        result = invoke("bench", url, "--seconds", "1", "--connections", "4", "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert [row["connections"] for row in rows] == [4, 8, 8, 8]
    most = rows[0]["requests_per_s"]
    assert rows[0]["rate"] is None
    assert [row["rate"] for row in rows[1:]] == pytest.approx([most * share for share in (0.25, 0.5, 0.75)], abs=0.1)
    assert all(row["failed"] == 0 and list(row["statuses"]) == ["200"] for row in rows)


def test_bench_at_given_rates_prints_a_table(invoke):
    with endpoint() as url:
        result = invoke("bench", url, "--rate", "20", "--rate", "40", "--seconds", "1")
    assert result.exit_code == 0, result.output
    assert "responses / s" in result.stdout
    assert [line.split()[0] for line in result.stdout.splitlines()[1:3]] == ["20", "40"]


def test_bench_refuses_https(invoke):
    assert invoke("bench", "https://127.0.0.1:1").exit_code == 2


def test_a_server_that_is_gone_gives_failures():
    with endpoint() as url:
        pass
    [row] = load_test(url, ["a"], rates=[20.0], seconds=0.5)
    assert (row.requests_per_s, row.failed, list(row.statuses)) == (0.0, row.requests, ["0"])
