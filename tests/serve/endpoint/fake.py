"""A supervisor without Ray: the locks, records and messages of a real one, and an HTTP server that answers /ready.

In: ``start_request.json`` in its folder, and in its ``mode`` file what it does wrong: ``hang`` and ``503`` at /ready,
``slow`` to start, ``bind`` to fail. Started as ``python -m tests.serve.endpoint.fake FOLDER``.
"""

import hashlib
import json
import os
import shutil
import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

from lft_ray.errors import InputError
from lft_ray.processes import this_process
from lft_ray.records import Endpoint
from lft_ray.serve.endpoint import messages
from lft_ray.serve.endpoint.locks import EndpointSite
from lft_ray.serve.endpoint.outcome import recorded
from lft_ray.serve.rollout.controller import RolloutController
from lft_ray.serve.rollout.state import DesiredState, ReplicaStatus, version_of

MODE = "LFT_TEST_FAKE_MODE"
"""Variable with the path of a file whose text is the mode."""


def mode() -> str:
    path = Path(os.environ[MODE])
    return path.read_text() if path.exists() else ""


class Handler(BaseHTTPRequestHandler):
    """Answers every GET by the mode."""

    def do_GET(self) -> None:
        if mode() == "hang":
            time.sleep(30)
        body = b"{}"
        self.send_response(503 if mode() == "503" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def apply(desired: DesiredState) -> list[ReplicaStatus]:
    """One replica that opens bundles, and compares nothing."""
    version, problem = opened(desired.current)
    candidate, reason = opened(desired.candidate) if desired.candidate else ("", problem)
    state: Literal["rejected", "ready"] = "rejected" if reason else "ready"
    return [ReplicaStatus(state, desired.serial, version, desired.current, reason, candidate, replica="r")]


def opened(uri: str) -> tuple[str, str]:
    """The version of a bundle, and what is wrong with it. Imports no numpy: a fake starts in half a second."""
    payload = (Path(uri) / "manifest.json").read_bytes()
    for name, digest in json.loads(payload)["files"].items():
        if hashlib.sha256((Path(uri) / name).read_bytes()).hexdigest() != digest["sha256"]:
            return "", f"{name} was changed"
    return hashlib.sha256(payload).hexdigest()[:12], ""


class Fake:
    """The endpoint's record, its rollout and its server."""

    def __init__(self, request: messages.StartRequest) -> None:
        self.request, self.folder = request, Path(request.folder)
        self.site = EndpointSite(request.site_uri, request.folder)
        self.rollout = RolloutController(apply, list)
        self.sources: dict[str, str] = {}
        self.server = ThreadingHTTPServer(("127.0.0.1", request.spec.port), Handler)
        port = self.server.server_address[1]
        self.endpoint = Endpoint(
            url=f"http://127.0.0.1:{port}",
            version="",
            process=this_process(),
            host=socket.gethostname(),
            ports={"http": port},
            state="starting",
            bundle_uri=request.bundle_uri,
            log=request.log,
            folder=request.folder,
            spec=request.spec,
        )

    def publish(self, **changes: object) -> Endpoint:
        self.endpoint = self.endpoint.replace(**changes)
        return self.site.write(self.endpoint)

    def copy(self, uri: str, serial: int) -> str:
        target = self.folder / "bundles" / str(serial)
        shutil.copytree(uri, target)
        self.sources[str(target)] = uri
        return str(target)

    def run(self) -> None:
        self.site.take()
        self.publish()
        while mode() == "slow":
            if signal.sigtimedwait(SIGNALS, 0.02) is not None:
                self.publish(state="stopped")
                return
        if mode() == "bind":
            self.publish(state="stopped", message="cannot bind port 1 (serve.port): Address already in use")
            sys.exit(InputError.exit_code)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        version = version_of(self.rollout.begin(self.copy(self.request.bundle_uri, 0)))
        self.publish(state="ready", version=version)
        while signal.sigwait(SIGNALS) == signal.SIGHUP:
            self.promote()
        shutil.rmtree(self.folder)
        self.publish(state="stopped")

    def promote(self) -> None:
        request = messages.get(self.folder, messages.PromoteRequest)
        assert request is not None
        self.site.move_to(request.site_uri)
        answer = self.decide(request)
        messages.put(self.folder, messages.PromoteResponse(serial=request.serial, endpoint=answer))

    def decide(self, request: messages.PromoteRequest) -> Endpoint:
        if request.autoscaling is not None:
            self.publish(spec=self.endpoint.spec.replace(autoscaling=request.autoscaling))
            if request.keep_bundle:
                return self.endpoint
        if request.bundle_uri is None:
            result = self.rollout.rollback()
        else:
            result = self.rollout.promote(self.copy(request.bundle_uri, request.serial), request.rollout)
        if result.kind == "rejected":
            return self.endpoint.replace(state="rejected", message=result.reason)
        if result.kind == "canary":
            return self.publish(canary=result.canary, message=result.canary.note)
        return self.publish(**recorded(result, self.endpoint, self.rollout, self.sources))


SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}

if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    found = messages.get(Path(sys.argv[1]), messages.StartRequest)
    assert found is not None
    Fake(found).run()
