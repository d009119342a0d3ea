"""The replica that profiles are measured in: the product's own app, batcher and engines, on weights that are random.

Serving cost depends on architecture, length and precision, not on what the weights have learned. In: a
`ProfileRequest`. Out: numbers. Lives in a Serve replica; `lft_ray.serve.profile` drives it.
"""

import asyncio
import ctypes
import gc
import itertools
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lft_ray.config import ModelSpec
from lft_ray.delivery import Bundle
from lft_ray.models.base import ModelSize
from lft_ray.serve.model import Probe
from lft_ray.serve.service import Model, Service, Wish
from lft_ray.wire import Answer, Info, LabelScore

if TYPE_CHECKING:
    from lft_ray.serve.predictor import Predictor

__all__ = ["CONCURRENCY", "IDLE", "BatchTimes", "ProbeReplica", "ProfileRequest", "make_folder_of", "open_request"]

CONCURRENCY = 32
"""Requests in flight while a profile is measured."""
IDLE = "idle"
"""The empty model: what is left is the ingress."""


@dataclass(frozen=True, slots=True)
class ProfileRequest:
    """One architecture to measure."""

    size: ModelSize
    model: ModelSpec
    precision: str
    max_length: int
    task_kind: str
    labels: tuple[str, ...]
    files: tuple[tuple[str, bytes], ...] = ()
    """Engine files of a model that cannot be made at random (TF-IDF: its vocabulary), by name."""

    @property
    def engine(self) -> str:
        """The engine that serves it."""
        return "sklearn" if self.size.is_linear else "torch"


@dataclass(frozen=True, slots=True)
class BatchTimes:
    """One repeat."""

    texts: int
    core_s: float
    wall_s: float


class IdleModel:
    """Answers without a model, so that only the ingress is measured."""

    version = "0" * 12

    def __init__(self, limits: dict[str, int]) -> None:
        self.info = Info(
            model=IDLE, version=self.version, task="", labels=[], max_length=0, engine="", precision="", **limits
        )
        self.samples: list[str] = []

    async def answer(self, texts: Sequence[str], *, top_k: int | None, function: str | None) -> Answer:
        """One label a text."""
        return [[LabelScore(label=IDLE, score=1.0)] for _ in texts]

    def probe(self, texts: Sequence[str]) -> list[Probe]:
        """Takes no time."""
        return [Probe(IDLE, 0.0) for _ in texts]

    def check(self) -> None:
        """Never fails."""

    async def retire(self) -> None:
        """Has nothing to free."""


class ProbeReplica:
    """A replica of the product whose model is what the last `prepare` asked for."""

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._serial = itertools.count()
        self._requests: dict[str, ProfileRequest] = {}
        self._service = Service(self._open)

    def __serve_build_asgi_app__(self) -> Any:
        """Called by Serve once, after ``__init__``."""
        from lft_ray.serve.http import create_app

        return create_app(self._service, sends_request_id=False)

    def _open(self, key: str) -> Model:
        from lft_ray.serve.http import LIMITS

        if key == IDLE:
            return IdleModel(LIMITS)
        with tempfile.TemporaryDirectory(prefix="lft-profile-") as folder:
            make_folder_of(self._requests[key], Path(folder))
            return open_request(self._requests[key], Path(folder), cores=self._cores, limits=LIMITS)

    async def prepare(self, request: ProfileRequest | None) -> str:
        """Serve ``request``, or the empty model for None. Returns why that is not possible, or an empty string."""
        key = IDLE
        if request is not None:
            key = f"{request.size.name} {request.precision} {request.max_length}"
            self._requests[key] = request
        state = await self._service.reconfigure(Wish(key, serial=next(self._serial)))
        return state.reason

    async def run_batches(self, texts: list[str], seconds: float) -> BatchTimes:
        """Keep `CONCURRENCY` texts in flight through the batcher for ``seconds``, without HTTP."""
        turn = itertools.cycle(texts)
        texts_done = 0
        wall, core = time.perf_counter(), time.process_time()

        async def work() -> None:
            nonlocal texts_done
            while time.perf_counter() - wall < seconds:
                await self._service.answer([next(turn)])
                texts_done += 1

        await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
        return BatchTimes(texts_done, time.process_time() - core, time.perf_counter() - wall)

    async def node(self) -> str:
        """Id of the Ray node this replica is on."""
        import ray

        return str(ray.get_runtime_context().get_node_id())

    async def resident_bytes(self) -> int:
        """Resident memory of this process, without what building random weights left unused in its heap."""
        import psutil

        gc.collect()
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        return int(psutil.Process().memory_info().rss)

    async def ingress_core_s(self) -> float:
        """Processor seconds so far of this process and of every proxy of this cluster on this node."""
        import psutil

        own = psutil.Process()
        total = 0.0
        for process in _ingress_processes(own):
            with suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
        return total


def _ingress_processes(own: Any) -> list[Any]:
    # Serve's actors are siblings of this one below the raylet, and HAProxy is a child of one of them.
    found = [own]
    parent = own.parent()
    for process in parent.children() if parent is not None else []:
        title = " ".join(process.cmdline())
        if "Proxy" in title and "ray::" in title:
            found += [process, *(child for child in process.children() if child.name() == "haproxy")]
    return found


def make_folder_of(request: ProfileRequest, folder: Path) -> None:
    """Write an engine folder with the request's architecture.

    Raises:
        ModelError: the base model's files cannot be found.
    """
    if request.size.is_linear:
        for name, content in request.files:
            (folder / name).write_bytes(content)
        return
    from lft_ray.models.card import EngineCard
    from lft_ray.models.network import build, save
    from lft_ray.models.resolve import find_base

    base = find_base(request.model)
    card = EngineCard(
        engine=request.engine,
        model_size=request.size.name,
        outputs=len(request.labels),
        max_length=request.max_length,
        pooling=request.size.pooling,
    )
    network = build(base, request.size, len(request.labels), random=True)
    save(network, folder, tokenizer_from=base.folder, card=card)


def open_request(request: ProfileRequest, folder: Path, *, cores: int, limits: dict[str, int]) -> "Predictor":
    """Open such a folder just as a bundle of that architecture is opened."""
    from lft_ray.engines import ENGINES
    from lft_ray.plugins import resolve
    from lft_ray.serve.predictor import Predictor
    from lft_ray.tasks import TASKS

    engine = resolve(request.engine, ENGINES, where="engine")
    task = resolve(request.task_kind, TASKS, where="task.kind")(list(request.labels))
    bundle = Bundle(
        uri=str(folder),
        version="0" * 12,
        engine=request.engine,
        precision=request.precision,
        task_kind=request.task_kind,
        labels=list(request.labels),
        model_size=request.size.name,
        max_length=request.max_length,
        bytes=0,
    )
    runner = engine.open(folder, precision=request.precision, threads=1)
    return Predictor(bundle, runner, task, workers=cores, limits=limits)
