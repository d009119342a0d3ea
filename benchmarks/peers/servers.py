"""How each server of serving.py is started, asked and stopped. In: the folders. Out: a running `Server`."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from lft_ray.serve.cluster.environment import free_port

__all__ = ["SERVERS", "Folders", "Server", "Start", "started"]

HERE = Path(__file__).resolve().parent
REPO = HERE.parent.parent
START_S = 180.0


@dataclass(frozen=True, slots=True)
class Folders:
    """What is served."""

    run: str
    """Run folder, for `lft deploy`."""
    bundle: str
    """The same bundle, for whoever takes our engine."""
    hub: str
    """The same backbone as a transformers folder."""


@dataclass(frozen=True, slots=True)
class Start:
    """A server's program.

    Attributes:
        command: from folders and port.
        path: of the route that classifies.
        body: from a text.
        environment: beside this process's.
        python: environment variable that names its Python; empty: this one.
    """

    command: Callable[[Folders, int], list[str]]
    path: str = "/"
    body: Callable[[str], dict[str, Any]] = field(default=lambda text: {"inputs": text})
    environment: Callable[[Folders], dict[str, str]] = field(default=lambda folders: {})
    python: str = ""

    def interpreter(self) -> str | None:
        """The Python that runs it; None where it is not set up."""
        return os.environ.get(self.python) if self.python else sys.executable


@dataclass(frozen=True, slots=True)
class Server:
    """One that answers."""

    url: str
    bodies: list[bytes]
    first_answer_s: float
    process: psutil.Process

    def memory_mb(self) -> float:
        """Proportional set size of the whole process tree."""
        total = 0
        for process in [self.process, *self.process.children(recursive=True)]:
            try:
                total += process.memory_full_info().pss
            except psutil.Error:
                continue
        return total / 2**20


def _peer(name: str, *arguments: str, folder: str = "hub") -> Callable[[Folders, int], list[str]]:
    return lambda folders, port: [str(HERE / name), getattr(folders, folder), str(port), *arguments]


def _bento(folders: Folders, port: int) -> list[str]:
    return ["-m", "bentoml", "serve", "bento_service:Classify", "--port", str(port), "--host", "127.0.0.1"]


def _infinity(folders: Folders, port: int) -> list[str]:
    script = str(Path(os.environ["INFINITY_PYTHON"]).with_name("infinity_emb"))
    options = ["--engine", "torch", "--device", "cpu", "--no-bettertransformer", "--port", str(port)]
    return [script, "v2", "--model-id", folders.hub, *options, "--host", "127.0.0.1"]


def _batched(text: str) -> dict[str, Any]:
    return {"inputs": [text]}


SERVERS: dict[str, Start] = {
    "fastapi_pipeline": Start(_peer("fastapi_pipeline.py")),
    "ray_example": Start(_peer("ray_pipeline.py")),
    "ray_example_100": Start(_peer("ray_pipeline.py", "100")),
    "litserve": Start(_peer("litserve_app.py", "pipeline"), python="PEERS_PYTHON"),
    "bentoml": Start(
        _bento,
        path="/classify",
        body=_batched,
        environment=lambda folders: {"PEER_FOLDER": folders.hub},
        python="PEERS_PYTHON",
    ),
    "infinity": Start(
        _infinity,
        path="/classify",
        body=lambda text: {"input": [text], "model": "hub"},
        environment=lambda folders: {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"},
        python="INFINITY_PYTHON",
    ),
    "litserve_engine": Start(_peer("litserve_app.py", "engine", folder="bundle"), python="PEERS_PYTHON"),
    "bentoml_engine": Start(
        _bento,
        path="/classify",
        body=_batched,
        environment=lambda folders: {"PEER_FOLDER": folders.bundle, "PEER_ENGINE": "1"},
        python="PEERS_PYTHON",
    ),
    "bound": Start(_peer("bound.py", folder="bundle")),
}
"""As shipped: around the transformers pipeline. ``_engine``: around the engine of our bundle."""


@contextmanager
def started(name: str, folders: Folders, texts: list[str]) -> Iterator[Server]:
    """Start a server, wait for its first answer; the end stops it and all of its processes."""
    start, port = SERVERS[name], free_port()
    python = start.interpreter() or sys.executable
    url = f"http://127.0.0.1:{port}{start.path}"
    bodies = [json.dumps(start.body(text)).encode() for text in texts]
    environment = os.environ | start.environment(folders)
    environment["PYTHONPATH"] = os.pathsep.join([str(HERE), str(REPO), environment.get("PYTHONPATH", "")])
    begun = time.perf_counter()
    log = Path(folders.hub).with_name(f"{name}.log").open("wb")
    process = subprocess.Popen(
        [python, *start.command(folders, port)], cwd=HERE, env=environment, stdout=log, stderr=subprocess.STDOUT
    )
    try:
        _wait(url, bodies[0], process, log.name)
        yield Server(url, bodies, time.perf_counter() - begun, psutil.Process(process.pid))
    finally:
        _stop(process)
        log.close()


def _wait(url: str, body: bytes, process: subprocess.Popen[bytes], log: str) -> None:
    deadline, seen = time.monotonic() + START_S, ""
    while time.monotonic() < deadline and process.poll() is None:
        try:
            answer = httpx.post(url, content=body, headers={"content-type": "application/json"}, timeout=30.0)
            if answer.status_code == httpx.codes.OK:
                return
            seen = f"{answer.status_code} {answer.text[:300]}"
        except httpx.HTTPError as error:
            seen = str(error)
        time.sleep(0.1)
    raise SystemExit(f"{url} did not answer: {seen}\n{Path(log).read_text(errors='replace')[-2000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    try:
        tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    except psutil.Error:
        tree = []
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
    _, alive = psutil.wait_procs(tree, timeout=10)
    for left in alive:
        left.kill()
