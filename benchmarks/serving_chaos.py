"""What clients of an endpoint feel when something goes wrong: a roll under load, five times too much, a killed replica.

python benchmarks/serving_chaos.py [--quick]

MiniLM with one layer (weights are random: they cost the same), two replicas of one core, deployed as ``lft deploy``
does. In turn: the most that it answers (closed loop); a promotion under load; an open loop at five times the most, 60 s
(10 s with --quick), with the replicas' memory, and a quiet time after it; kill -9 of a replica under load, with bare
HTTP and with our client. Prints a table and, on the last line, one JSON object.
"""

import argparse
import asyncio
import json
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from publishing import RESULTS, publish

from lft_ray.client import Client
from lft_ray.config import ModelSpec, ServeSpec
from lft_ray.config.serving import AutoscalingSpec
from lft_ray.errors import LftError
from lft_ray.export.bundle import ExportPlan, export_bundle
from lft_ray.export.card import CardFacts
from lft_ray.models.engine_card import EngineCard
from lft_ray.models.network import build, save
from lft_ray.models.resolve import find_base
from lft_ray.models.sizes import find_size
from lft_ray.records import Bundle, Endpoint
from lft_ray.run.storage import Storage
from lft_ray.serve.endpoint.deploy import deploy, down
from lft_ray.serve.loadgen import LoadResult, closed_loop, open_loop, text_bodies

LABELS = ["business", "science", "sport", "world"]
SIZE = "minilm:1"
WORDS = ("market", "planet", "goal", "law", "price", "match", "cell", "vote")
MAX_LENGTH = 64
CONNECTIONS = 16
TEXTS_A_REQUEST = 16
"""In the overload: what waits is counted in texts, and so few connections of the generator fill the queue."""
OVERLOAD_CONNECTIONS = 400
TIMES = 5.0


@dataclass(frozen=True)
class Lengths:
    """Seconds of each part."""

    steady: float
    kill: float
    overload: float


FULL = Lengths(steady=15.0, kill=45.0, overload=60.0)
QUICK = Lengths(steady=5.0, kill=30.0, overload=10.0)


def two_bundles(folder: Path) -> list[Bundle]:
    """The same weights twice, as two versions."""
    spec, size = find_size([ModelSpec(base="minilm", layers=[1])], SIZE)
    base = find_base(spec)
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir()
    card = EngineCard(engine="torch", model_size=SIZE, outputs=len(LABELS), max_length=MAX_LENGTH, pooling=size.pooling)
    save(build(base, size, len(LABELS), random=True), checkpoint, tokenizer_from=base.folder, card=card)
    return [
        export_bundle(
            checkpoint,
            ExportPlan(
                precision="fp32", task_kind="classification", labels=LABELS,
                samples=["A short text.", "Is there anything else?"], card=CardFacts(name=name),
            ),
            Storage(folder),
            name,
        )
        for name in ("first", "second")
    ]  # fmt: skip


def replicas_of(endpoint: Endpoint) -> list[psutil.Process]:
    found = []
    for process in psutil.Process(endpoint.pid).children(recursive=True):
        try:
            if process.status() != psutil.STATUS_ZOMBIE and "ServeReplica" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


@dataclass
class Asking:
    """Our client, asking one text after the other in a thread until it is left."""

    client: Client
    answers: int = 0
    failures: int = 0
    _left: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Asking":
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._left.is_set():
            try:
                self.client.predict(["the bank makes profit"])
                self.answers += 1
            except LftError:
                self.failures += 1


@dataclass
class Memory:
    """Resident bytes of the replicas, twice a second, until it is left."""

    endpoint: Endpoint
    samples: list[int] = field(default_factory=list)
    _left: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Memory":
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._left.wait(0.5):
            self.samples.append(sum(process.memory_info().rss for process in replicas_of(self.endpoint)))

    @property
    def growth(self) -> float:
        """The most of the last quarter over the most of the second: 1 is flat. The first quarter fills the queue."""
        quarter = max(1, len(self.samples) // 4)
        return max(self.samples[-quarter:]) / max(self.samples[quarter : 2 * quarter])


def measure_steady(endpoint: Endpoint, bodies: list[bytes], seconds: float) -> LoadResult:
    asyncio.run(closed_loop(endpoint.url, bodies, connections=CONNECTIONS, seconds=2.0))
    return asyncio.run(closed_loop(endpoint.url, bodies, connections=CONNECTIONS, seconds=seconds))


def measure_kill(endpoint: Endpoint, bodies: list[bytes], seconds: float) -> dict[str, Any]:
    """Kill a replica while bare HTTP and our client ask."""
    victim, before = replicas_of(endpoint)[0], {process.pid for process in replicas_of(endpoint)}
    back: list[float] = []

    def kill() -> None:
        time.sleep(2.0)
        victim.kill()
        killed = time.monotonic()
        while time.monotonic() - killed < 120.0:
            new = [process for process in replicas_of(endpoint) if process.pid not in before]
            if new and httpx.get(f"{endpoint.url}/ready").status_code == httpx.codes.OK:
                back.append(time.monotonic() - killed)
                return
            time.sleep(0.2)

    killer = threading.Thread(target=kill)
    with Client(endpoint.url) as client, Asking(client) as asking:
        killer.start()
        load = closed_loop(endpoint.url, bodies, connections=CONNECTIONS, seconds=seconds)
        result = asyncio.run(load)
        killer.join()
    return {
        "kill_requests": sum(result.statuses.values()),
        "kill_failures_bare": result.failed,
        "kill_most_in_flight": CONNECTIONS,
        "kill_answers_client": asking.answers,
        "kill_failures_client": asking.failures,
        "kill_process_back_s": round(back[0], 1) if back else None,
        "kill_p99_ms": round(result.p99_ms, 1),
    }


def measure_roll(endpoint: Endpoint, run: Path, bundle: Bundle, bodies: list[bytes]) -> dict[str, Any]:
    """Promote while requests come."""
    took: list[float] = []

    def roll() -> None:
        time.sleep(1.0)
        begun = time.monotonic()
        promoted = deploy(run, bundle, ServeSpec(port=0))
        if promoted.state != "ready" or promoted.version != bundle.version:
            raise SystemExit(f"the bundle was not promoted: {promoted.message}")
        took.append(time.monotonic() - begun)

    async def load() -> LoadResult:
        rolling = asyncio.create_task(asyncio.to_thread(roll))
        total = LoadResult(0.0)
        while not rolling.done():
            part = await closed_loop(endpoint.url, bodies, connections=CONNECTIONS, seconds=1.0)
            total.seconds += part.seconds
            total.latencies_ms += part.latencies_ms
            for status, count in part.statuses.items():
                total.statuses[status] = total.statuses.get(status, 0) + count
        await rolling
        return total

    result = asyncio.run(load())
    return {
        "roll_requests": sum(result.statuses.values()),
        "roll_failures": result.failed,
        "roll_took_s": round(took[0], 1),
        "roll_p99_ms": round(result.p99_ms, 1),
    }


def measure_overload(endpoint: Endpoint, texts: list[str], seconds: float) -> dict[str, Any]:
    """Five times as many requests as are answered at most."""
    bodies = [json.dumps({"inputs": texts[at : at + TEXTS_A_REQUEST]}).encode() for at in range(0, 64, 16)]
    most = asyncio.run(closed_loop(endpoint.url, bodies, connections=CONNECTIONS, seconds=5.0)).requests_per_s
    with Memory(endpoint) as memory:
        load = open_loop(
            endpoint.url,
            bodies,
            requests_per_s=TIMES * most,
            seconds=seconds,
            connections=OVERLOAD_CONNECTIONS,
        )
        result = asyncio.run(load)
    time.sleep(5.0)
    after = asyncio.run(closed_loop(endpoint.url, bodies, connections=4, seconds=3.0))
    allowed = {200, 429, 503}
    return {
        "overload_times": TIMES,
        "overload_requests": sum(result.statuses.values()),
        "overload_answered": result.ok,
        "overload_refused": result.statuses.get(429, 0) + result.statuses.get(503, 0),
        "overload_other_statuses": {str(k): v for k, v in result.statuses.items() if k not in allowed},
        "overload_goodput_vs_most": round(result.requests_per_s / most, 2),
        "overload_accepted_p99_ms": round(result.p99_ms),
        "overload_memory_growth": round(memory.growth, 3),
        "overload_memory_mb": round(max(memory.samples) / 1e6),
        "after_failures": after.failed,
        "after_p99_ms": round(after.p99_ms, 1),
    }


def run(lengths: Lengths) -> dict[str, Any]:
    texts = [f"The {word} of number {n} was not what they had expected" for n in range(8) for word in WORDS]
    spec = ServeSpec(port=0, grpc_port=None, autoscaling=AutoscalingSpec(min_replicas=2, max_replicas=2))
    with tempfile.TemporaryDirectory(prefix="lft-chaos-") as name:
        folder = Path(name)
        first, second = two_bundles(folder)
        endpoint = deploy(folder / "run", first, spec, wait_s=300.0)
        try:
            bodies = text_bodies(texts)
            steady = measure_steady(endpoint, bodies, lengths.steady)
            row: dict[str, Any] = {
                "steady_requests_per_s": round(steady.requests_per_s, 1),
                "steady_failures": steady.failed,
                "steady_p99_ms": round(steady.p99_ms, 1),
            }
            row |= measure_roll(endpoint, folder / "run", second, bodies)
            row |= measure_overload(endpoint, texts, lengths.overload)
            row |= measure_kill(endpoint, bodies, lengths.kill)
        finally:
            down(folder / "run")
    return row


def show(row: dict[str, Any]) -> None:
    for key, value in row.items():
        print(f"{key:28} {value}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="10 s of overload instead of 60")
    quick = parser.parse_args().quick
    row = run(QUICK if quick else FULL)
    show(row)
    publish({"benchmark": "serving_chaos", "quick": quick, **row}, RESULTS / "serving_chaos.jsonl")


if __name__ == "__main__":
    main()
