"""What a candidate must show beside the running model before it answers anybody. In: two opened models. Out: a reason.

Asked with the candidate's own sample texts, and with a few recent texts of this replica that never leave its memory.
"""

import time
from collections.abc import Sequence

from lft_ray.serve.loadgen import quantile_ms
from lft_ray.serve.model.base import Model

__all__ = ["NEVER_SLOW_MS", "compare"]

NEVER_SLOW_MS = 25.0
"""A p95 below this is never too slow: a network beside a bag of words is 10 times slower, and nobody feels it."""
_TIMINGS = 40
_SECONDS = 5.0
_LEAST_SAMPLES = 5
_LEAST_AGREEMENT = 0.5
_ALPHA = 0.05


def compare(candidate: Model, running: Model, recent: Sequence[str], *, max_slowdown: float | None) -> str:
    """Why the candidate may not take the running model's place; empty when it may. Blocks while it measures.

    Args:
        candidate: opened, and its own smoke sample answered as at its export.
        running: the model that answers now.
        recent: texts that were asked lately.
        max_slowdown: largest p95 of the candidate over the running model's, each asked alone in turns; None: any.
    """
    return (
        _other_labels(candidate, running)
        or _other_answers(candidate, running, recent)
        or _too_slow(candidate, running, max_slowdown)
    )


def _other_labels(candidate: Model, running: Model) -> str:
    ours, theirs = set(running.info.labels), set(candidate.info.labels)
    if (candidate.info.task, theirs) == (running.info.task, ours):
        return ""
    missing = ", ".join(sorted(ours - theirs)) or "none"
    added = ", ".join(sorted(theirs - ours)) or "none"
    return (
        f"it answers another task than the running model: {candidate.info.task} with the labels {missing} missing and "
        f"{added} added; stop the endpoint first to serve another task"
    )


def _other_answers(candidate: Model, running: Model, recent: Sequence[str]) -> str:
    same = _agreement(candidate, running, candidate.samples)
    if same == 0 and len(candidate.samples) >= _LEAST_SAMPLES:
        return f"it gives each of its {len(candidate.samples)} sample texts another label than the running model"
    same = _agreement(candidate, running, recent)
    # One-sided exact binomial test of an agreement of a half: a candidate may be better, but not another mapping.
    if _binomial_tail(same, len(recent), _LEAST_AGREEMENT) < _ALPHA:
        return f"it gives only {same} of the {len(recent)} latest texts the running model's label"
    return ""


def _agreement(candidate: Model, running: Model, texts: Sequence[str]) -> int:
    pairs = zip(candidate.probe(texts), running.probe(texts), strict=True)
    return sum(ours.label == theirs.label for ours, theirs in pairs)


def _binomial_tail(successes: int, trials: int, share: float) -> float:
    """P(Binomial(trials, share) <= successes)."""
    from scipy.special import bdtr

    return float(bdtr(successes, trials, share))


def _too_slow(candidate: Model, running: Model, max_slowdown: float | None) -> str:
    if max_slowdown is None:
        return ""
    for _ in range(2):  # A machine stalls now and then: what looks slow is measured once more.
        ours, theirs = _p95_ms(candidate, running)
        if ours <= max(NEVER_SLOW_MS, max_slowdown * theirs):
            return ""
    return (
        f"it is too slow: p95 {ours:.0f} ms on its sample texts, the running model's {theirs:.0f} ms; allowed is "
        f"{max_slowdown:g} times (--set serve.rollout.max_slowdown)"
    )


def _p95_ms(candidate: Model, running: Model) -> tuple[float, float]:
    """p95 of both, asked in turns, so that what else the machine does meets both."""
    ours: list[float] = []
    theirs: list[float] = []
    begun = time.monotonic()
    while len(ours) < _TIMINGS and (not ours or time.monotonic() - begun < _SECONDS):
        ours += [probe.latency_ms for probe in candidate.probe(candidate.samples)]
        theirs += [probe.latency_ms for probe in running.probe(candidate.samples)]
    return quantile_ms(ours, 0.95), quantile_ms(theirs, 0.95)
