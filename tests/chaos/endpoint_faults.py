"""Injects faults into a live endpoint on this machine, and measures what its clients see of them."""

import os
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from lft_ray.records import Endpoint
from lft_ray.run.storage import Storage
from lft_ray.serve.endpoint import record as endpoints

WORDS = {
    "haproxy": "/haproxy.cfg",
    "manager": "ray::HAProxyManager",
    "proxy": "ray::ProxyActor",
    "controller": "ray::ServeController",
    "replica": "ray::ServeReplica",
    "agent": "ray::DashboardAgent",
    "child": "with-ray",
    "raylet": "raylet/raylet",
    "gcs": "gcs_server",
    "stand-in": "stand-in.cfg",
}
"""Kind of process -> what its command line contains."""


def processes(endpoint: Endpoint, kind: str = "") -> list[psutil.Process]:
    """Processes of an endpoint, all or those of a kind, the oldest first."""
    found = []
    for process in psutil.Process(endpoint.pid).children(recursive=True):
        with suppress(psutil.Error):
            command = " ".join(process.cmdline())
            program = command.split(" --")[0] if kind in ("raylet", "gcs", "child") else command
            if WORDS.get(kind, "") in program and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return sorted(found, key=lambda process: process.create_time())


def hit(endpoint: Endpoint, kind: str, number: int = signal.SIGKILL) -> int:
    """Send a signal to the first process of a kind. Returns its id."""
    victim = processes(endpoint, kind)[0]
    os.kill(victim.pid, number)
    return victim.pid


def recorded(run: Path) -> Endpoint:
    found = endpoints.read(Storage(run))
    assert found is not None
    return found


def wait_for(ask, seconds: float, what: str = ""):
    """Poll until ``ask`` returns something true. Returns it, or fails."""
    deadline = time.monotonic() + seconds
    while not (found := ask()):
        assert time.monotonic() < deadline, what or "this took too long"
        time.sleep(0.1)
    return found


@dataclass
class Answer:
    """What one request met."""

    sent_at: float
    seconds: float
    status: int
    """0: no response."""
    detail: str
    """Version of the model, the type of the error, or the exception."""


class Clients:
    """Asks without a pause, each request on a connection of its own, several at a time, until the end of the block."""

    def __init__(self, url: str, *, count: int = 2, timeout_s: float = 90.0, keep_alive: bool = False) -> None:
        self.url, self.timeout_s, self.keep_alive = url, timeout_s, keep_alive
        self.answers: list[Answer] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(count)]

    def _ask(self) -> None:
        limits = None if self.keep_alive else httpx.Limits(max_keepalive_connections=0)
        with httpx.Client(timeout=self.timeout_s, limits=limits or httpx.Limits(), trust_env=False) as http:
            while not self._stop.is_set():
                sent_at = time.monotonic()
                try:
                    response = http.post(self.url, json={"inputs": "the bank makes profit"})
                    status, detail = response.status_code, response.headers.get("x-model-version", response.text[:200])
                except httpx.HTTPError as error:
                    status, detail = 0, f"{type(error).__name__}: {error}"
                self.answers.append(Answer(sent_at, time.monotonic() - sent_at, status, detail))
                self._stop.wait(0.05)

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        wait_for(lambda: len(self.answers) >= 5, 30)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def statuses(self) -> Counter:
        return Counter(answer.status for answer in self.answers)

    def outage_s(self, since: float) -> float:
        """Seconds from a fault to the end of the last request that was not answered well."""
        ends = [a.sent_at + a.seconds for a in self.answers if a.status != 200 and a.sent_at + a.seconds > since]
        return max(ends, default=since) - since

    def longest_s(self) -> float:
        return max(answer.seconds for answer in self.answers)

    def back(self, since: float, seconds: float, count: int = 10) -> None:
        """Wait until the last ``count`` answers, all sent after ``since``, are good."""

        def is_back() -> bool:
            recent = [answer for answer in list(self.answers) if answer.sent_at > since][-count:]
            return len(recent) == count and all(answer.status == 200 for answer in recent)

        wait_for(is_back, seconds, f"not back after {seconds} s: {self.answers[-3:]}")


def litter(endpoint: Endpoint) -> list[str]:
    """What is left of an endpoint that has ended: processes, files, memory segments."""
    from lft_ray.serve.endpoint.bundle_copies import store_of

    folder = Path(endpoint.folder)
    paths = [folder, store_of(folder)]
    found = [str(path) for path in paths if path.exists()]
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(endpoint.folder in word for word in process.cmdline()):
                found.append(f"{process.pid} {' '.join(process.cmdline())[:100]}")
    return found
