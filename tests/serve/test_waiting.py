import http.server
import threading
from typing import ClassVar

import pytest

from lft_ray.serve.cluster.environment import free_port
from lft_ray.serve.waiting import wait_healthy, wait_until


def test_the_first_useful_answer_ends_the_wait():
    answers = iter(["", "", "found", "later"])
    assert wait_until(lambda: next(answers), timeout_s=5.0, poll_s=0.0) == "found"
    assert next(answers) == "later"


def test_it_is_asked_once_also_without_time():
    asked = []
    assert wait_until(lambda: asked.append(1), timeout_s=0.0) is None
    assert asked == [1]


def test_the_wait_can_be_given_up():
    assert wait_until(lambda: False, timeout_s=60.0, give_up=lambda: True) is None


def test_what_the_question_raises_ends_the_wait():
    with pytest.raises(KeyError):
        wait_until(lambda: {}["a"], timeout_s=60.0)


class StartsLate(http.server.BaseHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(503 if len(self.asked) < 3 else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_health_is_asked_until_it_is_good_and_no_proxy_is_asked_for_loopback(monkeypatch):
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
    assert StartsLate.asked == ["/health"] * 3


def test_what_came_instead_is_told():
    assert "refused" in wait_healthy(f"http://127.0.0.1:{free_port()}", 0.0)
