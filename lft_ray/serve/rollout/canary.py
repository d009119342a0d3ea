"""Canary analysis: whether to keep observing a candidate, to roll it back, or to promote it. Pure.

In: the statistics of the candidate and of the running model, summed over replicas. Out: a `Verdict`. Requests are split
by the hash of their id, so both models see the same distribution of texts, and differences are due to the models.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from lft_ray.config import RolloutSpec
from lft_ray.serve.rollout.stats import BIN_RATIO, RequestStats

__all__ = ["MIN_REQUESTS", "Drift", "Verdict", "drift", "verdict"]

MIN_REQUESTS = 100
"""Minimum number of requests to the candidate before it is promoted or its predictions are tested for drift."""
_ALPHA_INTERIM = 1e-3
"""False-alarm rate of one interim check. Checks repeat every few seconds: of 300 canaries of equal models, checked 100
times each, one was rolled back."""
_ALPHA_FINAL = 0.05
"""False-alarm rate of the check at the end of the canary."""
_MIN_EXPECTED = 5.0
"""Labels with a lower expected count are pooled: the chi-square approximation does not hold for them."""


@dataclass(frozen=True, slots=True)
class Drift:
    """Difference between the distributions of two models' predictions."""

    psi: float
    """Population stability index: the sum of (a - b) ln(a / b) over the shares of each kind; above 0.1 is a shift."""
    p_value: float
    """p-value of the two-sample chi-square test for equal shares."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Decision on a candidate."""

    action: Literal["wait", "promote", "rollback"]
    reason: str
    """Why; empty where there is nothing to explain."""


def verdict(current: RequestStats, candidate: RequestStats, rules: RolloutSpec, *, time_is_up: bool) -> Verdict:
    """Judge a candidate by its errors, p95 latency and distribution of predictions, relative to the running model.

    Args:
        current: statistics of the running model since the canary began.
        candidate: statistics of the candidate.
        rules: how much worse the candidate may be.
        time_is_up: whether the canary has reached its duration; it is then promoted, given `MIN_REQUESTS` requests.
    """
    alpha = _ALPHA_FINAL if time_is_up else _ALPHA_INTERIM
    for problem in (
        _error_rise(current, candidate, rules, alpha),
        _slowdown(current, candidate, rules, alpha),
        _drift(current, candidate, rules, alpha),
    ):
        if problem:
            return Verdict("rollback", problem)
    if not time_is_up:
        return Verdict("wait", "")
    if candidate.requests < MIN_REQUESTS:
        return Verdict(
            "wait", f"the time is up, but it has served only {candidate.requests} of {MIN_REQUESTS} requests"
        )
    return Verdict("promote", "")


def drift(ours: Mapping[str, int], theirs: Mapping[str, int]) -> Drift:
    """Compare two counts of predictions. A count of 0 enters the stability index as 0.5, which keeps it finite.

    Args:
        ours: kind -> count of the running model.
        theirs: kind -> count of the candidate.
    """
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
    """Pairs of counts per kind; kinds whose expected count in the smaller sample is too low form one pair."""
    frequent, rest = [], Counter[str]()
    for kind in sorted({*ours, *theirs}):
        a, b = ours.get(kind, 0), theirs.get(kind, 0)
        if (a + b) * smaller_share >= _MIN_EXPECTED:
            frequent.append((a, b))
        else:
            rest.update({"a": a, "b": b})
    return [*frequent, (rest["a"], rest["b"])] if rest.total() else frequent


def _error_rise(current: RequestStats, candidate: RequestStats, rules: RolloutSpec, alpha: float) -> str:
    """Exact binomial test of the candidate's errors against the running model's error rate plus the allowed rise."""
    from scipy.special import bdtrc

    if not candidate.errors:
        return ""
    # Half an error and one request more, so that no errors in few requests do not read as a rate of exactly 0.
    allowed = (current.errors + 0.5) / (current.requests + 1) + rules.max_error_rise
    p_value = float(bdtrc(candidate.errors - 1, candidate.requests, min(allowed, 1.0)))
    if p_value >= alpha:
        return ""
    return (
        f"{candidate.errors} of its {candidate.requests} requests failed, of the running model "
        f"{current.errors} of {current.requests}"
    )


def _slowdown(current: RequestStats, candidate: RequestStats, rules: RolloutSpec, alpha: float) -> str:
    """Compare the lower confidence bound of its p95 with the upper one of the running model's, by order statistics."""
    low = candidate.latency_ms(_rank(candidate.succeeded, alpha)) / BIN_RATIO
    high = current.latency_ms(_rank(current.succeeded, 1.0 - alpha) + 1)
    if not current.succeeded or low <= rules.max_p95_rise * high:
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
    # The approximation may be one off, so the rank is corrected with the exact distribution.
    rank = max(0, math.ceil(float(bdtrik(probability, count, 0.95)) - 1e-9))
    while rank < count and bdtr(rank, count, 0.95) < probability:
        rank += 1
    return rank


def _drift(current: RequestStats, candidate: RequestStats, rules: RolloutSpec, alpha: float) -> str:
    """Chi-square test of the distributions of predictions; a significant difference must also be a large one."""
    if min(current.buckets.total(), candidate.buckets.total()) < MIN_REQUESTS:
        return ""
    found = drift(current.buckets, candidate.buckets)
    if found.p_value >= alpha or found.psi <= rules.max_drift:
        return ""
    return (
        f"its predictions drift from the running model's: stability index {found.psi:.2f}, more than "
        f"{rules.max_drift:g} (serve.rollout.max_drift), p = {found.p_value:.1g}"
    )
