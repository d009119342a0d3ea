"""Measure what each candidate costs to serve, before any of them is trained: in one real Serve replica behind HAProxy.

In: `ProfileRequest`s, texts, a `ServeSpec`, a connected Ray cluster without Serve. Out: a `ProfileBook`. Leaves no
Serve behind.
"""

import asyncio
import itertools
import logging
import random
import shutil
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lft_ray.config import ServeSpec
from lft_ray.environment import machine
from lft_ray.errors import InputError, LftError
from lft_ray.records import DatasetRecord, IngressProfile, ProfileBook, ServingProfile
from lft_ray.serve.boot import serve_starting
from lft_ray.serve.environment import cluster_environment, free_port, serving_environment
from lft_ray.serve.load import LoadResult, closed_loop, open_loop, text_bodies
from lft_ray.serve.probe import CONCURRENCY, BatchTimes, ProbeReplica, ProfileRequest

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

__all__ = ["ProfileRequest", "measure_profiles"]

REPEATS = 3
_APP = "lft-profile"
_WARM_S = 0.4
_HTTP_S = 1.5
_LOAD_SHARE = 0.5
"""HTTP latency is measured at this share of what the replica can do at most."""
_START_S = 90.0


def measure_profiles(
    requests: Sequence[ProfileRequest], dataset: DatasetRecord, spec: ServeSpec, *, seconds_per_repeat: float = 0.8
) -> ProfileBook:
    """Measure every request in the connected cluster, one after the other in the same replica.

    ``core_s_per_text`` is processor time inside the replica with 32 texts in flight through the batcher;
    ``core_s_per_request`` is that of replica and proxies for an HTTP request to an empty model.

    Args:
        requests: what to measure.
        dataset: its ``sample_texts`` are sent.
        spec: cores of a replica, as in production.
        seconds_per_repeat: length of each of the `REPEATS` repeats.

    Raises:
        InputError: the cluster serves already.
        LftError: a candidate cannot be built or opened.
    """
    texts = _shuffled(dataset.sample_texts)
    with _replica(spec) as bench:
        ingress = _measure_ingress(bench, texts, seconds_per_repeat)
        profiles = [_measure(bench, request, texts, ingress, spec, seconds_per_repeat) for request in requests]
        for number in _out_of_order(requests, profiles):
            profiles[number] = _measure(bench, requests[number], texts, ingress, spec, seconds_per_repeat)
        for number in _out_of_order(requests, profiles):
            warning = "more layers measured cheaper than fewer, twice; the machine was busy or too noisy"
            profiles[number] = profiles[number].model_copy(update={"warning": warning})
    return ProfileBook(ingress=ingress.profile, profiles=profiles)


# ---------------------------------------------------------------- one replica


@dataclass(frozen=True, slots=True)
class _Bench:
    """A replica that can be asked, and loaded over HTTP from its own node."""

    handle: "DeploymentHandle[Any]"
    url: str
    node: str

    def ask(self, method: str, *arguments: Any) -> Any:
        """Call a method of `ProbeReplica`."""
        return getattr(self.handle, method).remote(*arguments).result(timeout_s=_START_S)

    def prepare(self, request: ProfileRequest | None) -> None:
        """Let the replica serve ``request``."""
        reason = self.ask("prepare", request)
        if reason:
            raise LftError(f"{request.size.name if request else 'the empty model'} cannot be profiled: {reason}")

    def load(self, bodies: list[bytes], seconds: float, requests_per_s: float | None) -> LoadResult:
        """Load the replica over HTTP: open loop at a rate, or closed loop with `CONCURRENCY` connections."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        near = NodeAffinitySchedulingStrategy(self.node, soft=False)
        task = ray.remote(num_cpus=0, max_retries=0)(_send).options(scheduling_strategy=near)
        result: LoadResult = ray.get(task.remote(self.url, bodies, seconds, requests_per_s))
        if not result.ok:
            raise LftError(f"the profiled replica answered no request: {result.statuses}")
        return result


def _send(url: str, bodies: list[bytes], seconds: float, requests_per_s: float | None) -> LoadResult:
    if requests_per_s is None:
        return asyncio.run(closed_loop(url, bodies, connections=CONCURRENCY, seconds=seconds))
    return asyncio.run(open_loop(url, bodies, requests_per_s=requests_per_s, seconds=seconds))


@contextmanager
def _replica(spec: ServeSpec) -> Iterator[_Bench]:
    from ray import serve

    # Serve tells what it starts line by line; the study says that in one.
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    _refuse_other_serve()
    folder = Path(tempfile.mkdtemp(prefix="lft-", dir="/tmp" if Path("/tmp").is_dir() else None))
    port = free_port()
    try:
        with serve_starting("127.0.0.1", port, variables=_variables(folder)):
            handle = serve.run(_app(spec), name=_APP, route_prefix="/")
        node = handle.node.remote().result(timeout_s=_START_S)
        yield _Bench(handle, f"http://127.0.0.1:{port}/", node)
    finally:
        serve.shutdown()  # type: ignore[no-untyped-call]
        shutil.rmtree(folder, ignore_errors=True)


def _variables(folder: Path) -> dict[str, str]:
    import ray

    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    alone = sum(bool(node["Alive"]) for node in nodes) == 1
    found = serving_environment(folder) if alone else cluster_environment(str(folder))
    # Nothing is lost when this replica goes, so it need not stay reachable for a while.
    return found | {"RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0"}


def _app(spec: ServeSpec) -> Any:
    import ray
    from ray import serve

    from lft_ray.serve.app import SERVE_RESOURCE

    has_resource = SERVE_RESOURCE in ray.cluster_resources()  # type: ignore[no-untyped-call]
    resources = {SERVE_RESOURCE: 0.001} if has_resource else {}
    deployment = serve.deployment(
        name="probe",
        num_replicas=1,
        ray_actor_options={"num_cpus": spec.cpus_per_replica, "resources": resources},
        max_ongoing_requests=1000,
        graceful_shutdown_timeout_s=1,
        graceful_shutdown_wait_loop_s=0.1,
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
    )(serve.ingress()(ProbeReplica))
    return deployment.bind(spec.cpus_per_replica)


def _refuse_other_serve() -> None:
    from ray.util import list_named_actors

    if any(actor["namespace"] == "serve" for actor in list_named_actors(all_namespaces=True)):
        raise InputError(
            "the cluster runs Ray Serve already, and profiles need it for themselves",
            fix="search on another cluster (leave cluster.address empty), or `serve shutdown` there first",
        )


# ---------------------------------------------------------------- numbers


@dataclass(frozen=True, slots=True)
class _Ingress:
    profile: IngressProfile
    requests_per_s: float


def _measure_ingress(bench: _Bench, texts: list[str], seconds: float) -> _Ingress:
    bench.prepare(None)
    bodies = text_bodies(texts)
    bench.load(bodies, _WARM_S, None)
    costs, rates, count = [], [], 0
    for _ in range(REPEATS):
        before = bench.ask("ingress_core_s")
        result = bench.load(bodies, seconds, None)
        costs.append((bench.ask("ingress_core_s") - before) / result.ok)
        rates.append(result.requests_per_s)
        count += result.ok
    median = statistics.median(costs)
    profile = IngressProfile(
        machine=machine(),
        core_s_per_request=median,
        requests_measured=count,
        repeats=REPEATS,
        spread=(max(costs) - min(costs)) / median,
    )
    return _Ingress(profile, statistics.median(rates))


def _measure(
    bench: _Bench, request: ProfileRequest, texts: list[str], ingress: _Ingress, spec: ServeSpec, seconds: float
) -> ServingProfile:
    bench.prepare(request)
    bench.ask("run_batches", texts, _WARM_S)
    times: list[BatchTimes] = [bench.ask("run_batches", texts, seconds) for _ in range(REPEATS)]
    costs = [one.core_s / one.texts for one in times]
    median = statistics.median(costs)
    texts_per_s = statistics.median(one.texts / one.wall_s for one in times)
    load = _LOAD_SHARE / (1 / texts_per_s + 1 / ingress.requests_per_s)
    http = bench.load(text_bodies(texts), _HTTP_S, load)
    return ServingProfile(
        model_size=request.size.name,
        precision=request.precision,
        max_length=request.max_length,
        engine=request.engine,
        device="cpu",
        machine=ingress.profile.machine,
        threads=spec.cpus_per_replica,
        core_s_per_text=median,
        texts_per_s=texts_per_s,
        p50_ms=http.p50_ms,
        p95_ms=http.p95_ms,
        p99_ms=http.p99_ms,
        load_requests_per_s=load,
        peak_bytes=bench.ask("resident_bytes"),
        repeats=REPEATS,
        spread=(max(costs) - min(costs)) / median,
        texts_measured=sum(one.texts for one in times),
    )


def _out_of_order(requests: Sequence[ProfileRequest], profiles: Sequence[ServingProfile]) -> list[int]:
    """Numbers of the profiles where more layers cost less than fewer by more than the repeats differ."""
    wrong: set[int] = set()
    series: dict[tuple[str, str, int], list[int]] = {}
    for number, request in enumerate(requests):
        series.setdefault((request.size.base, request.precision, request.max_length), []).append(number)
    for numbers in series.values():
        ordered = sorted(numbers, key=lambda number: requests[number].size.layers or 0)
        for fewer, more in itertools.pairwise(ordered):
            spread = max(profiles[fewer].spread, profiles[more].spread)
            if profiles[more].core_s_per_text < profiles[fewer].core_s_per_text * (1 - spread):
                wrong |= {fewer, more}
    return sorted(wrong)


def _shuffled(texts: Sequence[str]) -> list[str]:
    # The load goes round in this order: lengths must not come in runs.
    mixed = list(texts)
    random.Random(0).shuffle(mixed)
    return mixed
