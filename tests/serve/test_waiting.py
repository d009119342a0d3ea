import http.server
import threading
from typing import ClassVar

import pytest

from lft_ray.serve.cluster.environment import free_port
from lft_ray.serve.waiting import wait_healthy, wait_until


def test_wait_until_returns_the_first_truthy_result():
    results = iter(["", "", "found", "later"])
    assert wait_until(lambda: next(results), timeout_s=5.0, poll_s=0.0) == "found"
    assert next(results) == "later"


def test_wait_until_calls_the_condition_once_even_with_a_timeout_of_zero():
    calls = []
    assert wait_until(lambda: calls.append(1), timeout_s=0.0) is None
    assert calls == [1]


def test_wait_until_stops_when_give_up_returns_true():
    assert wait_until(lambda: False, timeout_s=60.0, give_up=lambda: True) is None


def test_wait_until_propagates_exceptions_of_the_condition():
    with pytest.raises(KeyError):
        wait_until(lambda: {}["a"], timeout_s=60.0)


class StartsLate(http.server.BaseHTTPRequestHandler):
    calls: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.calls.append(self.path)
        self.send_response(503 if len(self.calls) < 3 else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_wait_healthy_polls_until_status_200_and_bypasses_the_proxy_for_loopback(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("NO_PROXY", "")
    with http.server.HTTPServer(("127.0.0.1", 0), StartsLate) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            assert wait_healthy(f"http://127.0.0.1:{server.server_port}/", 20.0) == ""
        finally:
            server.shutdown()
            thread.join()
    assert StartsLate.calls == ["/health"] * 3


def test_wait_healthy_returns_the_last_problem():
    assert "refused" in wait_healthy(f"http://127.0.0.1:{free_port()}", 0.0)
