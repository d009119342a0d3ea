"""Which model sizes one seed of each cannot rule out: the rule for what has to be confirmed before anything is proven.

In: the best point and one point of every other size, each with the score of its one run. Out: the sizes that are still
in question, the most likely first. Pure. Never picks a winner.

A cheaper size is in question while it may lose no more than the margin against the best: then it would win. A size that
costs as much or more is in question while it may be better than the best by more than the margin: then the loss of the
winner would be measured against the wrong model. Under `best_f1` that is asked of all sizes, as none wins by its price.

The loss of a size is F1(best) - F1(size) on the same validation rows. Its variance is that of a paired bootstrap over
these rows (without predictions: the binomial variance of one score), plus the seed variance of both runs, which one run
each cannot show and which is therefore assumed, `SEED_SPREAD`. No bound is closer than so few rows allow
(`unseen_rate`). The lower bound is held for all sizes together (Bonferroni: one-sided 1 - 0.05 / sizes): a size in
question is ruled out by mistake in at most one search of twenty.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from lft_ray.config import SelectionSpec
from lft_ray.models.floors import FLOORS
from lft_ray.records import FrontPoint
from lft_ray.selection.evidence import Evidence, Key
from lft_ray.selection.significance import CONFIDENCE, unseen_rate

__all__ = ["SEED_SPREAD", "Noise", "is_linear", "key_of", "sizes_in_question"]

SEED_SPREAD = 0.006
"""Standard deviation of F1 over the seeds of a fine-tuned encoder."""
REPLICATES = 2_000
"""Only a variance is taken from them: its square root is known to 2%."""


@dataclass(frozen=True, slots=True)
class Noise:
    """What the noise of a score of the search is estimated from.

    Attributes:
        rows: number of validation rows.
        evidence: predictions of the search runs; None, or without one of the runs: binomial variance.
    """

    rows: int
    evidence: Evidence | None = None


def key_of(point: FrontPoint) -> Key:
    """The identity of a point."""
    return (point.trial_id, point.precision, point.max_length)


def is_linear(model_size: str) -> bool:
    """Whether a model size is a model over words, without a transformer. Its training has no seed."""
    return model_size.partition(":")[0] in FLOORS


def seeds_variance(*points: FrontPoint) -> float:
    """Assumed seed variance of a difference of two runs."""
    return SEED_SPREAD**2 * sum(not is_linear(point.model_size) for point in points)


def rows_variance(best: FrontPoint, rows: int) -> float:
    """Binomial variance of one score: an estimate for a difference of two scores that share their rows."""
    return best.f1 * (1.0 - best.f1) / max(rows, 1)


def sizes_in_question(
    best: FrontPoint, rivals: Sequence[FrontPoint], spec: SelectionSpec, noise: Noise
) -> list[FrontPoint]:
    """Those of ``rivals`` that one seed cannot rule out, the most likely to matter first.

    Args:
        best: the best point of the search.
        rivals: the best point of every other model size.
        spec: margin and policy.
        noise: rows and predictions of the search.
    """
    if not rivals:
        return []
    level = 1.0 - (1.0 - CONFIDENCE) / len(rivals)
    quantile, least = NormalDist().inv_cdf(level), unseen_rate(level, noise.rows)
    found = []
    for rival, variance in zip(rivals, _rows_variances(best, rivals, noise), strict=True):
        error = math.sqrt(variance + seeds_variance(best, rival))
        wins_by_price = (
            rival.usd_per_million_predictions < best.usd_per_million_predictions and spec.policy != "best_f1"
        )
        boundary = spec.margin if wins_by_price else -spec.margin
        distance = best.f1 - rival.f1 - boundary
        if distance <= max(quantile * error, least):
            found.append((distance / error if error else distance, rival))
    return [rival for _, rival in sorted(found, key=lambda item: (item[0], item[1].usd_per_million_predictions))]


def _rows_variances(best: FrontPoint, rivals: Sequence[FrontPoint], noise: Noise) -> list[float]:
    points = [best, *rivals]
    evidence = noise.evidence
    keys, recorded = [key_of(p) for p in points], [p.f1 for p in points]
    if evidence is None or not evidence.reproduces(keys, recorded):
        return [rows_variance(best, noise.rows)] * len(rivals)
    sample = evidence.resample([[key] for key in keys], replicates=REPLICATES)
    return [sample.difference(i, 0).rows_variance for i in range(1, len(points))]
