"""Whether a candidate that answers a share of the traffic may go on, must go, or may take over. Pure.

In: what it and the running model did (`RequestStats`, all replicas together). Out: a `Verdict`. Requests are shared out
by the hash of their id, so both models meet the same kind of texts, and what differs is the models' doing.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from lft_ray.config import RolloutSpec
from lft_ray.serve.rollout.stats import BIN_RATIO, RequestStats

__all__ = ["LEAST_REQUESTS", "Drift", "Verdict", "drift", "verdict"]

LEAST_REQUESTS = 100
"""Answers of the candidate without which it is neither promoted nor judged by its labels."""
_ALPHA_LOOK = 1e-3
"""False alarm of one look. They repeat every few seconds: of 300 canaries of equal models, looked at 100 times each,
one was ended."""
_ALPHA_END = 0.05
_LEAST_EXPECTED = 5.0
"""Labels that are expected less often are counted together, where the chi-square approximation fails."""


@dataclass(frozen=True, slots=True)
class Drift:
    """How far the labels of two models are apart."""

    psi: float
    """Population stability index: the sum of (a - b) ln(a / b) over the labels' shares; above 0.1 is a shift."""
    p_value: float
    """Two-sample chi-square test of equal shares."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be done with a candidate."""

    action: Literal["wait", "promote", "rollback"]
    reason: str


def verdict(current: RequestStats, candidate: RequestStats, rules: RolloutSpec, *, time_is_up: bool) -> Verdict:
    """Judge a candidate by its errors, its p95 and its labels, against the running model's in the same time.

    Args:
        current: what the running model did since the canary began.
        candidate: what the candidate did.
        rules: what it may be worse by.
        time_is_up: the canary's minutes are over: promote it, if it has answered `LEAST_REQUESTS`.
    """
    alpha = _ALPHA_END if time_is_up else _ALPHA_LOOK
    for problem in (
        _errors(current, candidate, rules, alpha),
        _slowness(current, candidate, rules, alpha),
        _drifted(current, candidate, rules, alpha),
    ):
        if problem:
            return Verdict("rollback", problem)
    if not time_is_up:
        return Verdict("wait", "")
    if candidate.requests < LEAST_REQUESTS:
        return Verdict("wait", f"the time is up, but it has answered {candidate.requests} of {LEAST_REQUESTS} requests")
    return Verdict("promote", "")


def drift(ours: Mapping[str, int], theirs: Mapping[str, int]) -> Drift:
    """How far two counts of labels are apart. Counts of 0 in one of them are taken as a half for the index."""
    from scipy.special import chdtrc

    n, m = sum(ours.values()), sum(theirs.values())
    if not n or not m:
        return Drift(0.0, 1.0)
    pairs = _pooled(ours, theirs, min(n, m) / (n + m))
    statistic, psi = 0.0, 0.0
    for a, b in pairs:
        for count, total in ((a, n), (b, m)):
            expected = total * (a + b) / (n + m)
            statistic += (count - expected) ** 2 / expected
        share, other = max(a, 0.5) / n, max(b, 0.5) / m
        psi += (share - other) * math.log(share / other)
    return Drift(psi, float(chdtrc(len(pairs) - 1, statistic)) if len(pairs) > 1 else 1.0)


def _pooled(ours: Mapping[str, int], theirs: Mapping[str, int], smaller_share: float) -> list[tuple[int, int]]:
    kept, rest = [], Counter[str]()
    for label in sorted({*ours, *theirs}):
        a, b = ours.get(label, 0), theirs.get(label, 0)
        if (a + b) * smaller_share >= _LEAST_EXPECTED:
            kept.append((a, b))
        else:
            rest.update({"a": a, "b": b})
    return [*kept, (rest["a"], rest["b"])] if rest.total() else kept


def _errors(current: RequestStats, candidate: RequestStats, rules: RolloutSpec, alpha: float) -> str:
    """Exact binomial test of the candidate's errors against the running model's rate and what may come on top."""
    from scipy.special import bdtrc

    if not candidate.errors:
        return ""
    allowed = (current.errors + 0.5) / (current.requests + 1) + rules.max_error_rise
    chance = float(bdtrc(candidate.errors - 1, candidate.requests, min(allowed, 1.0)))
    if chance >= alpha:
        return ""
    return (
        f"{candidate.errors} of its {candidate.requests} requests failed, of the running model "
        f"{current.errors} of {current.requests}"
    )


def _slowness(current: RequestStats, candidate: RequestStats, rules: RolloutSpec, alpha: float) -> str:
    """The lower confidence bound of its p95 against the upper one of the running model's, from order statistics."""
    low = candidate.latency_ms(_rank(candidate.answered, alpha)) / BIN_RATIO
    high = current.latency_ms(_rank(current.answered, 1.0 - alpha) + 1)
    if not current.answered or low <= rules.max_p95_rise * high:
        return ""
    return (
        f"its p95 is {candidate.p95_ms:.0f} ms, the running model's {current.p95_ms:.0f} ms: more than "
        f"{rules.max_p95_rise:g} times (serve.rollout.max_p95_rise)"
    )


def _rank(count: int, probability: float) -> int:
    """Smallest k with P(Binomial(count, 0.95) <= k) >= probability."""
    from scipy.special import bdtr, bdtrik

    if count < 1:
        return 0
    rank = max(0, math.ceil(float(bdtrik(probability, count, 0.95)) - 1e-9))
    while rank < count and bdtr(rank, count, 0.95) < probability:
        rank += 1
    return rank


def _drifted(current: RequestStats, candidate: RequestStats, rules: RolloutSpec, alpha: float) -> str:
    if min(current.labels.total(), candidate.labels.total()) < LEAST_REQUESTS:
        return ""
    found = drift(current.labels, candidate.labels)
    if found.p_value >= alpha or found.psi <= rules.max_drift:
        return ""
    return (
        f"its labels differ from the running model's: stability index {found.psi:.2f}, more than {rules.max_drift:g} "
        f"(serve.rollout.max_drift), p = {found.p_value:.1g}"
    )
