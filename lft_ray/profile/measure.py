"""Measure the serving cost of every candidate before any training, in one real Ray Serve replica behind HAProxy.

In: `ProfileRequest`s, texts, a `ServeSpec`, a connected Ray cluster without Serve. Out: a `ProfileBook`. Never leaves
Serve running.
"""

import itertools
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lft_ray.candidates import Candidates
from lft_ray.cluster.environment import machine
from lft_ray.config import ServeSpec
from lft_ray.profile.replica import BatchTimes, ProfileRequest
from lft_ray.profile.session import ProfileSession, profile_replica
from lft_ray.records import DatasetRecord, IngressProfile, ProfileBook, ServingProfile
from lft_ray.serve.loadgen import text_bodies
from lft_ray.tasks.find import prediction_kind
from lft_ray.texts import Text
from lft_ray.wire import PredictionKind

__all__ = ["ProfileRequest", "is_current", "measure_profiles", "settings_changed", "warnings_of"]

REPEATS = 3
"""Timed repeats per request; their spread is the noise estimate of a profile."""
_WARM_UP_S = 0.4
_HTTP_S = 1.5
_LOAD_SHARE = 0.5
"""HTTP latency is measured at this share of the maximum throughput of the replica."""


def measure_profiles(
    requests: Sequence[ProfileRequest], dataset: DatasetRecord, spec: ServeSpec, *, seconds_per_repeat: float = 0.8
) -> ProfileBook:
    """Measure all requests on the connected cluster, one after the other in the same replica.

    ``core_s_per_text`` is CPU time inside the replica with 32 texts in flight through the batcher;
    ``core_s_per_request`` is CPU time of replica and proxies for an HTTP request to an empty model.

    Args:
        requests: architectures to measure.
        dataset: prepared data; its ``sample_texts`` are the load.
        spec: serving settings, with the cores of a replica as in production.
        seconds_per_repeat: duration of each of the `REPEATS` repeats.

    Returns:
        Profiles in the order of ``requests``, and those that no engine can serve under ``refused``.

    Raises:
        InputError: the cluster already runs Serve, or a replica can never fit.
        UnreachableError: the replica, or a node for it, did not start in time.
        LftError: a candidate cannot be built or opened.
    """
    texts = _shuffled(dataset.sample_texts)
    # Engines without torch first: once imported, torch stays in the memory of the replica and would inflate its peak.
    order = sorted(range(len(requests)), key=lambda number: requests[number].engine == "torch")
    with profile_replica(spec, [requests[number] for number in order]) as session:
        answers = prediction_kind(dataset.task_kind)
        ingress = _measure_ingress(session, texts, answers, seconds_per_repeat)
        found, refused = {}, {}
        for number in order:
            request = requests[number]
            measured = _measure(session, request, texts, ingress, spec, seconds_per_repeat)
            if isinstance(measured, str):
                refused[f"{request.size.name} {request.precision}"] = measured
            else:
                found[number] = measured
        requests, profiles = [requests[number] for number in sorted(found)], [found[n] for n in sorted(found)]
        # More layers cannot be cheaper: measure such pairs once more before warning.
        for number in _out_of_order(requests, profiles):
            again = _measure(session, requests[number], texts, ingress, spec, seconds_per_repeat)
            profiles[number] = again if isinstance(again, ServingProfile) else profiles[number]
        for number in _out_of_order(requests, profiles):
            warning = "more layers measured cheaper than fewer, twice; the machine was busy or too noisy"
            profiles[number] = profiles[number].replace(warning=warning)
    return ProfileBook(ingress=ingress.profile, profiles=profiles, refused=refused)


def settings_changed(book: ProfileBook, spec: ServeSpec) -> str:
    """What differs between the measurement of these profiles and now, in words; empty: nothing that matters.

    Args:
        book: profiles that an earlier session measured.
        spec: the serving settings of the experiment now.
    """
    if not book.profiles:
        return ""
    first, changes = book.profiles[0], []
    for key, was, now in (
        ("serve.preset", first.preset, spec.preset),
        ("serve.cpus_per_replica", first.threads, spec.cpus_per_replica),
        ("the machine", book.ingress.machine, machine()),
    ):
        if was != now:
            changes.append(f"{key} was {was} and is {now}")
    return ", ".join(changes)


def warnings_of(book: ProfileBook) -> list[str]:
    """What the user should know about these profiles: noisy ones, and variants that no engine can serve."""
    noisy = [f"{measured.model_size}: {measured.warning}" for measured in book.profiles if measured.warning]
    return noisy + [f"{variant} is not offered: {reason}" for variant, reason in book.refused.items()]


def is_current(
    book: ProfileBook, spec: ServeSpec, candidates: Candidates, *, keeps: bool, log: Callable[[str], None]
) -> bool:
    """Whether the profiles of an earlier session are used, and not measured again.

    Args:
        book: profiles that an earlier session measured.
        spec: the serving settings of the experiment now.
        candidates: what may be trained: a size none of whose variants was measured could not be priced.
        keeps: whether trials have been priced with them: prices from two measurements cannot be compared.
        log: told where they are used although something changed.
    """
    measured = {(profile.model_size, profile.precision, profile.max_length) for profile in book.profiles}
    unpriced = [
        name
        for name, offered in candidates.variants.items()
        if not any((name, variant.precision, variant.max_length) in measured for variant in offered)
    ]
    if unpriced:
        log(f"serving costs are measured again: {', '.join(unpriced)} was measured as an earlier version served it")
        return False
    change = settings_changed(book, spec)
    if change and keeps:
        log(f"warning: serving costs stay as measured at first, although {change}; --replace measures them anew")
    elif change:
        log(f"serving costs are measured again: {change}")
    return keeps or not change


# ---------------------------------------------------------------- one measurement


@dataclass(frozen=True, slots=True)
class _Ingress:
    """Cost and maximum throughput of requests to an empty model."""

    profile: IngressProfile
    requests_per_s: float


def _measure_ingress(session: ProfileSession, texts: list[Text], answers: PredictionKind, seconds: float) -> _Ingress:
    session.prepare(None, (1 if isinstance(texts[0], str) else len(texts[0]), answers))
    bodies = text_bodies(texts, answers)
    session.load(bodies, _WARM_UP_S, None)
    costs, rates, count = [], [], 0
    for _ in range(REPEATS):
        before = session.call("ingress_core_s")
        result = session.load(bodies, seconds, None)
        costs.append((session.call("ingress_core_s") - before) / result.ok)
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
    session: ProfileSession,
    request: ProfileRequest,
    texts: list[Text],
    ingress: _Ingress,
    spec: ServeSpec,
    seconds: float,
) -> ServingProfile | str:
    """The profile of a request, or the reason why it cannot be served."""
    made = session.prepare(request)
    if made is None or made.refused:
        return made.refused if made else "nothing to serve"
    session.call("run_batches", texts, _WARM_UP_S)
    times: list[BatchTimes] = [session.call("run_batches", texts, seconds) for _ in range(REPEATS)]
    costs = [repeat.core_s / repeat.texts for repeat in times]
    median = statistics.median(costs)
    texts_per_s = statistics.median(repeat.texts / repeat.wall_s for repeat in times)
    # A request passes the ingress and the model one after the other: their times add up.
    load = _LOAD_SHARE / (1 / texts_per_s + 1 / ingress.requests_per_s)
    bodies = text_bodies(texts, prediction_kind(request.task_kind))
    http = session.load(bodies, _HTTP_S, load)
    return ServingProfile(
        model_size=request.size.name,
        precision=request.precision,
        max_length=request.max_length,
        engine=made.engine,
        device="cpu",
        machine=ingress.profile.machine,
        threads=spec.cpus_per_replica,
        preset=spec.preset,
        core_s_per_text=median,
        texts_per_s=texts_per_s,
        p50_ms=http.p50_ms,
        p95_ms=http.p95_ms,
        p99_ms=http.p99_ms,
        load_requests_per_s=load,
        peak_bytes=session.call("resident_bytes"),
        repeats=REPEATS,
        spread=(max(costs) - min(costs)) / median,
        texts_measured=sum(repeat.texts for repeat in times),
        warning=made.note,
    )


def _out_of_order(requests: Sequence[ProfileRequest], profiles: Sequence[ServingProfile]) -> list[int]:
    """Indices of profiles whose cost falls with more layers by more than the spread of their repeats."""
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


def _shuffled(texts: Sequence[Text]) -> list[Text]:
    # The load cycles through the texts in this order; sorted lengths would make batches unrealistically uniform.
    shuffled = list(texts)
    random.Random(0).shuffle(shuffled)
    return shuffled
