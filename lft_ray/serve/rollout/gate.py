"""The promotion gate: what a candidate must pass before it serves requests. In: two opened models. Out: a reason.

Compares task, predictions and latency with the running model, on the candidate's own smoke samples and on a few
recent texts of this replica. Recent texts never leave its memory.
"""

import re
import time
import unicodedata
from collections.abc import Iterable, Sequence

from lft_ray.serve.loadgen import quantile_ms
from lft_ray.serve.model.base import Model
from lft_ray.texts import Text, whole

__all__ = ["NEVER_SLOW_MS", "compare", "distinct_key"]

NEVER_SLOW_MS = 25.0
"""A p95 below this always passes: a network is 10 times slower than a bag of words, which no user notices."""
_TIMINGS = 40
"""Number of latency measurements per model."""
_SECONDS = 5.0
"""Time limit for these measurements."""
_MIN_SAMPLES = 5
"""Fewer samples that all differ are not yet evidence of a wrong mapping of outputs to predictions."""
_ALPHA = 0.05
"""Significance level of the test of that share."""


def distinct_key(text: Text) -> str:
    """Key by which two texts count as one: a monitor repeats one text, perhaps with another time or counter in it."""
    return re.sub(r"\d+", "0", " ".join(unicodedata.normalize("NFKC", whole(text)).casefold().split()))


def compare(
    candidate: Model,
    running: Model,
    recent: Sequence[Text],
    *,
    max_slowdown: float | None,
    min_agreement: float,
) -> str:
    """Compare a candidate with the running model. Blocks while it measures.

    Args:
        candidate: opened model, whose smoke samples have been verified.
        running: the running model.
        recent: texts of recent requests.
        max_slowdown: maximum ratio of the candidate's p95 latency to the running model's; None: any.
        min_agreement: minimum share of texts that must get the running model's prediction; 0: any.

    Returns:
        The reason why the candidate must not replace the running model; empty if it may.
    """
    return (
        _task_mismatch(candidate, running)
        or _disagreement(candidate, running, recent, min_agreement)
        or _slowdown(candidate, running, max_slowdown)
    )


def _task_mismatch(candidate: Model, running: Model) -> str:
    kind, other = candidate.info.task, running.info.task
    how = f" instead of {other}" if kind != other else candidate.task.mismatch(running.task)
    if not how:
        return ""
    return (
        f"its task differs from that of the running model: {kind}{how if kind != other else f' with {how}'}; stop the "
        "endpoint first to serve another task"
    )


def _disagreement(candidate: Model, running: Model, recent: Iterable[Text], min_agreement: float) -> str:
    if not min_agreement:
        return ""
    samples = _distinct(candidate.samples)
    if len(samples) >= _MIN_SAMPLES and _agreement(candidate, running, samples) == 0:
        return (
            f"it predicts otherwise than the running model for each of its {len(samples)} sample texts "
            "(serve.rollout.min_agreement=0 allows it)"
        )
    texts = _distinct(recent)
    same = _agreement(candidate, running, texts)
    # One-sided exact binomial test, by text and not by request: a better model differs on some texts, a wrong
    # mapping on most, and a text that is sent a thousand times is one piece of evidence.
    if _binomial_tail(same, len(texts), min_agreement) < _ALPHA:
        return (
            f"it agrees with the running model on only {same} of the {len(texts)} latest distinct texts, evidence of "
            f"less than {min_agreement:.0%} (serve.rollout.min_agreement)"
        )
    return ""


def _distinct(texts: Iterable[Text]) -> list[Text]:
    return list({distinct_key(text): text for text in texts}.values())


def _agreement(candidate: Model, running: Model, texts: Sequence[Text]) -> int:
    """Number of texts with the same kind of prediction from both models."""
    if not texts:
        return 0
    pairs = zip(candidate.run_samples(texts), running.run_samples(texts), strict=True)
    return sum(ours.bucket == theirs.bucket for ours, theirs in pairs)


def _binomial_tail(successes: int, trials: int, share: float) -> float:
    """P(Binomial(trials, share) <= successes)."""
    from scipy.special import bdtr

    return float(bdtr(successes, trials, share))


def _slowdown(candidate: Model, running: Model, max_slowdown: float | None) -> str:
    if max_slowdown is None:
        return ""
    for _ in range(2):  # Machines stall now and then, so an apparent slowdown is measured once more.
        ours, theirs = _p95_ms(candidate, running)
        if ours <= max(NEVER_SLOW_MS, max_slowdown * theirs):
            return ""
    return (
        f"it is too slow: p95 {ours:.0f} ms on its sample texts, against {theirs:.0f} ms of the running model; allowed "
        f"is {max_slowdown:g} times (--set serve.rollout.max_slowdown)"
    )


def _p95_ms(candidate: Model, running: Model) -> tuple[float, float]:
    """p95 in ms of both models, run in alternation so that other load on the machine affects both."""
    ours: list[float] = []
    theirs: list[float] = []
    started_at = time.monotonic()
    while len(ours) < _TIMINGS and (not ours or time.monotonic() - started_at < _SECONDS):
        ours += [sample.latency_ms for sample in candidate.run_samples(candidate.samples)]
        theirs += [sample.latency_ms for sample in running.run_samples(candidate.samples)]
    return quantile_ms(ours, 0.95), quantile_ms(theirs, 0.95)
