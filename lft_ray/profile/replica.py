"""The replica in which profiles are measured: the app, batcher and engines of production, with random weights.

Serving cost depends on architecture, length and precision, not on the values of the weights.

In: a `ProfileRequest`. Out: measurements. `ProfileReplica` runs inside a Serve replica, driven by
`lft_ray.profile.measure`; model folders are built by a process beside it.
"""

import asyncio
import ctypes
import gc
import itertools
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lft_ray.config import ModelSpec
from lft_ray.engines.build import build_folder, serving_engine
from lft_ray.engines.onnx_build import NotExportableError
from lft_ray.models.floors import FLOORS
from lft_ray.models.sizes import ModelSize
from lft_ray.records import Bundle
from lft_ray.serve.model.base import Model, ReplicaThreads, SampleResult
from lft_ray.serve.rollout.service import Service
from lft_ray.serve.rollout.state import DesiredState
from lft_ray.tasks.base import Head, Task, longest_answer_of
from lft_ray.tasks.classification import Classification
from lft_ray.texts import Text
from lft_ray.wire import Info, LabelScore, Prediction, PredictionKind, Predictions, SpanAnswer

if TYPE_CHECKING:
    from lft_ray.serve.model.predictor import Predictor

__all__ = [
    "CONCURRENCY",
    "IDLE",
    "BatchTimes",
    "PreparedFolder",
    "ProfileReplica",
    "ProfileRequest",
    "build_request_folder",
    "open_request",
]

CONCURRENCY = 32
"""Requests in flight during a measurement."""
IDLE = "idle"
"""Name of the empty model, whose cost is that of the ingress alone."""
_IDLE_PREDICTIONS: dict[PredictionKind, Prediction] = {
    "labels": [LabelScore(label=IDLE, score=1.0)],
    "spans": [SpanAnswer(answer=IDLE, start=0, end=len(IDLE), score=1.0)],
}


@dataclass(frozen=True, slots=True)
class ProfileRequest:
    """One architecture to measure."""

    size: ModelSize
    model: ModelSpec
    precision: str
    max_length: int
    task_kind: str
    facts: str
    """What the task learned from train, as JSON: a request is compared and sent to other processes."""
    outputs: int
    """Outputs of the head."""
    head: Head = "vector"
    segments: int = 1
    """Texts of one input."""
    files: tuple[tuple[str, bytes], ...] = ()
    """Engine files by name, for a model that cannot be random (TF-IDF: its vocabulary determines the cost)."""

    @property
    def name(self) -> str:
        """Unique name among the requests of a search."""
        return f"{self.size.name} {self.precision} {self.max_length}"

    @property
    def engine(self) -> str:
        """The preferred engine; another one serves the model if this one cannot."""
        return FLOORS[self.size.family].engine if self.size.is_linear else serving_engine("torch", self.precision)


@dataclass(frozen=True, slots=True)
class PreparedFolder:
    """An engine folder of the requested architecture, on the node of the replica, which deletes it after opening."""

    folder: str
    engine: str = ""
    note: str = ""
    """Why another engine than the preferred one serves it; empty: the preferred one does."""
    refused: str = ""
    """Why no engine can serve it; there is no folder then."""


@dataclass(frozen=True, slots=True)
class BatchTimes:
    """Texts, CPU seconds and wall seconds of one repeat."""

    texts: int
    core_s: float
    wall_s: float


class IdleModel:
    """Returns constant predictions without a model, so that only the ingress is measured.

    Args:
        limits: limits of the endpoint, as in ``/info``.
        segments: texts of one input.
        answers: what predictions consist of.
    """

    version = "0" * 12
    queued = 0

    def __init__(self, limits: dict[str, int], segments: int = 1, answers: PredictionKind = "labels") -> None:
        facts = {"model": IDLE, "version": self.version, "task": "", "labels": [], "engine": "", "precision": ""}
        inputs = {"segments": segments, "answers": answers}
        self.info = Info.model_validate({**facts, "max_length": 0, **inputs, **limits})
        self.task: Task = Classification([IDLE])
        self.samples: list[Text] = []

    async def predict(self, texts: Sequence[Text], *, top_k: int | None, function: str | None) -> Predictions:
        """One constant prediction per text."""
        return [_IDLE_PREDICTIONS[self.info.answers]] * len(texts)

    def run_samples(self, texts: Sequence[Text]) -> list[SampleResult]:
        """One constant result per text, in no time."""
        return [SampleResult(IDLE, 0.0) for _ in texts]

    def check(self) -> None:
        """Never fails."""

    async def retire(self) -> None:
        """Frees nothing."""


class ProfileReplica:
    """A production replica that serves the model of the last `prepare` call."""

    def __init__(self, cores: int, preset: str = "throughput") -> None:
        self._layout = ReplicaThreads(cores, preset)
        self._serial = itertools.count()
        self._requests: dict[str, tuple[ProfileRequest, PreparedFolder]] = {}
        self._idle: dict[str, tuple[int, PredictionKind]] = {}
        """Key of an empty model -> texts of one input, and what predictions consist of."""
        self._service = Service(self._open)

    def __serve_build_asgi_app__(self) -> Any:
        """Called by Serve once, after ``__init__``."""
        from lft_ray.serve.api.app import create_app

        return create_app(self._service, sends_request_id=False)

    def _open(self, key: str) -> Model:
        from lft_ray.serve.api.app import LIMITS

        if key in self._idle:
            return IdleModel(LIMITS, *self._idle[key])
        request, prepared = self._requests[key]
        try:
            return open_request(request, prepared, self._layout, limits=LIMITS)
        finally:
            shutil.rmtree(prepared.folder, ignore_errors=True)

    async def prepare(
        self,
        request: ProfileRequest | None,
        prepared: PreparedFolder | None = None,
        inputs: tuple[int, PredictionKind] = (1, "labels"),
    ) -> str:
        """Serve ``request`` from the folder ``prepared``; None: the empty model, with these texts an input and answers.

        Returns:
            Why that is not possible; empty on success.
        """
        segments, answers = inputs
        key = f"{IDLE} {answers} of {segments}"
        self._idle[key] = (segments, answers)
        if request is not None and prepared is not None:
            key = request.name
            self._requests[key] = (request, prepared)
        status = await self._service.reconfigure(DesiredState(current=key, serial=next(self._serial)))
        return status.reason

    async def run_batches(self, texts: list[Text], seconds: float) -> BatchTimes:
        """Run with `CONCURRENCY` texts in flight through the batcher for ``seconds``, without HTTP."""
        cycle = itertools.cycle(texts)
        texts_done = 0
        wall, core = time.perf_counter(), time.process_time()

        async def work() -> None:
            nonlocal texts_done
            while time.perf_counter() - wall < seconds:
                await self._service.predict([next(cycle)])
                texts_done += 1

        await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
        return BatchTimes(texts_done, time.process_time() - core, time.perf_counter() - wall)

    async def node(self) -> str:
        """Id of the Ray node of this replica."""
        import ray

        return str(ray.get_runtime_context().get_node_id())

    async def resident_bytes(self) -> int:
        """Resident memory of this process, after returning the free heap left by earlier models to the system."""
        import psutil

        gc.collect()
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        return int(psutil.Process().memory_info().rss)

    async def ingress_core_s(self) -> float:
        """CPU seconds so far of this process and of the proxies of this cluster on this node."""
        import psutil

        own = psutil.Process()
        total = 0.0
        for process in _ingress_processes(own):
            with suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
        return total


def _ingress_processes(own: Any) -> list[Any]:
    # The actors of Serve are siblings of this process below the raylet; HAProxy is a child of one of them.
    found = [own]
    parent = own.parent()
    for process in parent.children() if parent is not None else []:
        title = " ".join(process.cmdline())
        if "Proxy" in title and "ray::" in title:
            found += [process, *(child for child in process.children() if child.name() == "haproxy")]
    return found


def build_request_folder(request: ProfileRequest, below: Path | None = None) -> PreparedFolder:
    """Build an engine folder of the requested architecture.

    Runs in a process beside the replica, because exporting imports torch, which a production replica does not.

    Args:
        request: architecture to build.
        below: parent folder; None: the temporary folder of this machine.

    Raises:
        ModelError: the files of the base model cannot be found.
    """
    folder = Path(tempfile.mkdtemp(prefix="lft-profile-", dir=below))
    if request.size.is_linear:
        for name, content in request.files:
            (folder / name).write_bytes(content)
        return PreparedFolder(str(folder), request.engine)
    try:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            _save_random(request, Path(scratch))
            built = build_folder(Path(scratch), folder / "served", precision=request.precision)
    except NotExportableError as error:
        shutil.rmtree(folder)
        return PreparedFolder("", refused=error.message)
    except BaseException:
        shutil.rmtree(folder)
        raise
    return PreparedFolder(str(folder), built.card.engine, built.note)


def _save_random(request: ProfileRequest, folder: Path) -> None:
    """Write a checkpoint with random weights. Runs on the node of the replica, where the base model is resolved."""
    from lft_ray.models.engine_card import EngineCard
    from lft_ray.models.heads import reading_of
    from lft_ray.models.network import build, save
    from lft_ray.models.resolve import find_base
    from lft_ray.tasks.find import make_task

    base = find_base(request.model)
    card = EngineCard(
        engine="torch",
        model_size=request.size.name,
        outputs=request.outputs,
        max_length=request.max_length,
        pooling=reading_of(request.size, request.head),
        segments=request.segments,
        longest_answer=longest_answer_of(make_task(request.task_kind, json.loads(request.facts))),
    )
    network = build(base, request.size, request.outputs, head=request.head, random=True)
    save(network, folder, tokenizer_from=base.folder, card=card)


def open_request(
    request: ProfileRequest, prepared: PreparedFolder, layout: ReplicaThreads, *, limits: dict[str, int]
) -> "Predictor":
    """Open a prepared folder the way production opens a bundle of that architecture. Runs in the replica."""
    from lft_ray.engines import ENGINES
    from lft_ray.plugins import resolve
    from lft_ray.serve.model.predictor import Predictor
    from lft_ray.tasks.find import make_task

    folder = Path(prepared.folder) if request.size.is_linear else Path(prepared.folder) / "served"
    task = make_task(request.task_kind, json.loads(request.facts))
    bundle = Bundle(
        uri=str(folder),
        version="0" * 12,
        engine=prepared.engine,
        precision=request.precision,
        task_kind=request.task_kind,
        labels=task.labels,
        model_size=request.size.name,
        max_length=request.max_length,
        bytes=0,
    )
    opened = resolve(prepared.engine, ENGINES, where="engine").open
    runner = opened(folder, precision=request.precision, threads=layout.threads)
    return Predictor(bundle, runner, task, layout=layout, limits=limits)
