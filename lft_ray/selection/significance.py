"""How much F1 may a choice cost? Paired bootstrap over validation rows and seeds. In: answers. Out: bounds. Numpy only.

Every replicate draws the validation rows once for all runs (stratified by label), computes the task's metric again from
label counts, and draws the seeds. McNemar's test is about accuracy and normal theory about means; F1 is neither.

A difference is theta = F1(best) - F1(other), over rows and seeds that were not seen. Its variance has a row part, which
shrinks with 1 / rows, and a seed part, which shrinks with 1 / seeds. Seeds that are compared on the same rows differ by
luck with these rows, too; the row part has that already, so it is taken out of the seed part. With few seeds their
spread is itself a guess: the bound is widened as Student's t is against the normal (Welch and Satterthwaite's degrees
of freedom). The spread of seeds is pooled over the finalists, but for those whose runs are all the same.

Sources: Efron and Tibshirani 1993 (bootstrap); Owen 2007, arXiv:0712.1111 (rows x seeds); Holm 1979 (several
comparisons).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

__all__ = ["CONFIDENCE", "METRICS", "Difference", "Resampled", "holm_levels", "resample", "scores", "student_t"]

CONFIDENCE = 0.95
METRICS = ("macro_f1", "micro_f1", "weighted_f1", "accuracy")
REPLICATES = 10_000
LEAST_REPLICATES = 2_000
DRAWS = 200_000_000
"""Rows x replicates: seconds on one core. From 20,000 rows on fewer replicates do; the distribution is smooth there."""
CHUNK = 2_000_000
"""Row weights made at a time: 8 MB, which stays in the cache of a core or close to it."""
LEAST_STRATUM = 5
"""Labels with fewer rows are drawn together: a stratum of one row would never vary, and look certain."""

Floats = NDArray[np.float64]
Weights = NDArray[np.float32]
Labels = NDArray[np.integer | np.bool_]


@dataclass(frozen=True)
class Difference:
    """How much worse one finalist is than another, and how sure that is.

    Attributes:
        loss: F1 of the other (the best) less F1 of this one.
        deviations: float64 [replicates], how far the loss may be off.
        rows_variance: of the loss, from the choice of rows.
        seeds_variance: from the choice of seeds.
        freedom: degrees of freedom of the variance; inf where it owes nothing to a few seeds.
        rows: validation rows.
    """

    loss: float
    deviations: Floats
    rows_variance: float
    seeds_variance: float
    freedom: float
    rows: int

    @property
    def standard_error(self) -> float:
        """Of the loss."""
        return math.sqrt(self.rows_variance + self.seeds_variance)

    def upper(self, level: float = CONFIDENCE) -> float:
        """The loss is below this, with probability ``level``."""
        return self.loss + self._reach(level, level)

    def lower(self, level: float = CONFIDENCE) -> float:
        """The loss is above this, with probability ``level``."""
        return self.loss + self._reach(1.0 - level, level)

    def rows_needed(self, boundary: float, level: float = CONFIDENCE) -> int | None:
        """Validation rows at which the bound would reach from the loss to ``boundary``, were the loss as it seems.

        half-width(n) = q x sqrt(rows_variance x rows / n + seeds_variance), where q is today's half-width in standard
        errors; solved for n with half-width = |boundary - loss|. Such a sample settles it one time in two; None where
        the seeds alone keep the half-width above that.
        """
        error = self.standard_error
        if error == 0.0:
            return self.rows
        reach = abs(self._reach(level if boundary >= self.loss else 1.0 - level, level)) / error
        spare = (boundary - self.loss) ** 2 - reach**2 * self.seeds_variance
        if spare <= 0.0:
            return None
        return math.ceil(self.rows * reach**2 * self.rows_variance / spare)

    def _reach(self, quantile: float, level: float) -> float:
        widened = student_t(level, self.freedom) / NormalDist().inv_cdf(level)
        return float(np.quantile(self.deviations, quantile)) * widened


@dataclass(frozen=True)
class Resampled:
    """Observed and resampled scores of m finalists with k_i runs each.

    Attributes:
        observed: m arrays float64 [k_i], the metric of each run on all rows.
        replicates: m arrays float64 [B, k_i], on drawn rows; replicate b has the same rows for all runs.
        rows: validation rows.
        seed: of the draws of seeds.
    """

    observed: list[Floats]
    replicates: list[Floats]
    rows: int
    seed: int = 0

    @cached_property
    def means(self) -> Floats:
        """Mean score of each finalist, [m]."""
        return np.array([values.mean() for values in self.observed])

    @property
    def knows_seeds(self) -> bool:
        """Whether any finalist was run with two seeds or more that differ."""
        return bool(self._spread_of) or all(len(values) > 1 for values in self.observed)

    def difference(self, finalist: int, best: int) -> Difference:
        """Compare two finalists, on the same rows."""
        by_rows = self._rows[:, best] - self._rows[:, finalist]
        by_seeds = self._seeds[:, best] - self._seeds[:, finalist]
        rows_variance, seeds_variance = float(by_rows.var()), float(by_seeds.var())
        guessed = sum(self._raw_variance / len(self.observed[i]) for i in (finalist, best) if not self._is_fixed(i))
        total = rows_variance + seeds_variance
        freedom = sum(len(self.observed[i]) - 1 for i in self._spread_of)
        return Difference(
            loss=float(self.means[best] - self.means[finalist]),
            deviations=by_rows + by_seeds,
            rows_variance=rows_variance,
            seeds_variance=seeds_variance,
            freedom=freedom * (total / guessed) ** 2 if guessed > 0.0 and freedom else math.inf,
            rows=self.rows,
        )

    @cached_property
    def _rows(self) -> Floats:
        """How far the mean over seeds is off by the draw of rows, [B, m]."""
        means = np.stack([values.mean(axis=1) for values in self.replicates], axis=1)
        centred: Floats = means - means.mean(axis=0)
        return centred

    def _is_fixed(self, finalist: int) -> bool:
        """Whether seeds change nothing, as for a linear model: several runs, all the same."""
        values = self.observed[finalist]
        return len(values) > 1 and float(np.ptp(values)) == 0.0

    @cached_property
    def _spread_of(self) -> list[int]:
        return [i for i, values in enumerate(self.observed) if len(values) > 1 and not self._is_fixed(i)]

    @cached_property
    def _residuals(self) -> Floats:
        """Distance of each run from its finalist's mean, scaled so that their mean square estimates the variance."""
        groups = [self.observed[i] for i in self._spread_of]
        return np.concatenate([(g - g.mean()) * math.sqrt(len(g) / (len(g) - 1)) for g in groups] or [np.zeros(0)])

    @cached_property
    def _raw_variance(self) -> float:
        """Variance over seeds of one run, luck with the rows included."""
        return float((self._residuals**2).mean()) if len(self._residuals) else 0.0

    @cached_property
    def _luck_variance(self) -> float:
        """The part of it that is luck with the rows: what a mean over seeds loses of a run's row variance."""
        parts = []
        for i in self._spread_of:
            runs, k = self.replicates[i], len(self.observed[i])
            parts.append((float(runs.var(axis=0).mean()) - float(runs.mean(axis=1).var())) * k / (k - 1))
        return sum(parts) / len(parts) if parts else 0.0

    @cached_property
    def _seeds(self) -> Floats:
        """How far each finalist's mean is off by the draw of seeds, [B, m]."""
        drawn = np.zeros((len(self.replicates[0]), len(self.observed)))
        if self._raw_variance == 0.0:
            return drawn
        rng = np.random.default_rng([self.seed, 1])
        left = math.sqrt(max(0.0, 1.0 - self._luck_variance / self._raw_variance))
        for i, values in enumerate(self.observed):
            if not self._is_fixed(i):
                picks = rng.integers(0, len(self._residuals), (len(drawn), len(values)))
                drawn[:, i] = self._residuals[picks].mean(axis=1) * left
        return drawn


def resample(
    truth: Labels,
    answers: Sequence[Sequence[Labels]],
    *,
    metric: str = "macro_f1",
    replicates: int | None = None,
    seed: int = 0,
) -> Resampled:
    """Score m finalists on rows drawn again and again. 10,000 replicates of 25 runs on 8,000 rows: about ten seconds.

    Args:
        truth: int [n] label numbers, or bool [n, c] for several labels a row.
        answers: for each finalist its runs, each shaped as ``truth``.
        metric: one of `METRICS`.
        replicates: how many; None: 10,000, fewer above 20,000 rows.
        seed: equal seeds give equal numbers.

    Raises:
        ValueError: no row, no run, an unknown metric, or answers of another shape than the truth.
    """
    runs = [run for finalist in answers for run in finalist]
    if metric not in METRICS or not len(truth) or not runs or any(run.shape != truth.shape for run in runs):
        raise ValueError(
            f"cannot compare {len(runs)} runs by {metric!r} on answers of another shape than {truth.shape}"
        )
    rows = len(truth)
    count = replicates or int(min(REPLICATES, max(LEAST_REPLICATES, DRAWS / rows)))
    order, starts, sizes = _strata(truth)
    counter = _Counter(truth[order], [run[order] for run in runs], metric)
    observed = counter.scores(np.ones((1, rows), dtype=np.float32))[0]
    found = np.empty((count, len(runs)))
    rng = np.random.default_rng([seed, 0])
    step = max(1, CHUNK // rows)
    for begin in range(0, count, step):
        part = found[begin : begin + step]
        part[:] = counter.scores(_draw(rng, starts, sizes, len(part)))
    ends = np.cumsum([len(finalist) for finalist in answers])[:-1]
    return Resampled(np.split(observed, ends), np.split(found, ends, axis=1), rows, seed)


def scores(truth: Labels, answers: Sequence[Labels], metric: str) -> Floats:
    """The metric of each run on all rows, float64 [runs]: what `resample` calls observed."""
    found: Floats = _Counter(truth, answers, metric).scores(np.ones((1, len(truth)), dtype=np.float32))[0]
    return found


def holm_levels(differences: Sequence[Difference], boundary: float, confidence: float = CONFIDENCE) -> list[float]:
    """The one-sided level at which each difference is compared with ``boundary``, so that all hold together.

    Holm's steps: the surest of m at 1 - alpha / m, the next at 1 - alpha / (m - 1), ... and, from the first whose upper
    bound is above the boundary on, all at that one's level.
    """
    alpha, m = 1.0 - confidence, len(differences)
    levels = [confidence] * m
    sure = sorted(range(m), key=lambda i: _distance(differences[i], boundary), reverse=True)
    share, holds = alpha / max(1, m), True
    for step, i in enumerate(sure):
        if holds:
            share = alpha / (m - step)
            holds = differences[i].upper(1.0 - share) <= boundary
        levels[i] = 1.0 - share
    return levels


def student_t(level: float, freedom: float) -> float:
    """Quantile of Student's t by Cornish and Fisher's expansion: 1% low at 2 degrees of freedom, 12% at 1."""
    z = NormalDist().inv_cdf(level)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / freedom ** (power + 1) for power, term in enumerate(terms))


class _Counter:
    """Scores of runs from row weights. Only rows that a run got wrong change its counts: the rest is the truth."""

    def __init__(self, truth: Labels, runs: Sequence[Labels], metric: str) -> None:
        self.metric = metric
        # One label a row: a label that neither truth nor answers hold has no F1, as scikit-learn has it.
        self.only_seen = truth.ndim == 1
        labels = truth.shape[1] if truth.ndim > 1 else int(max(truth.max(), *(run.max() for run in runs))) + 1
        table = _table(truth, labels)
        self.truth = table.astype(np.float32)
        self.errors = []
        for run in runs:
            given = _table(run, labels)
            wrong = np.flatnonzero((given != table).any(axis=1))
            misses, extras = table[wrong] & ~given[wrong], given[wrong] & ~table[wrong]
            self.errors.append((wrong, np.hstack([misses, extras]).astype(np.float32)))

    def scores(self, weights: Weights) -> Floats:
        """The metric for each row of weights [b, n] and each run: [b, runs]."""
        support = (weights @ self.truth).astype(np.float64)
        total = weights.sum(axis=1, dtype=np.float64)
        return np.stack([self._score(weights[:, rows], kinds, support, total) for rows, kinds in self.errors], axis=1)

    def _score(self, weights: Weights, kinds: NDArray[np.float32], support: Floats, total: Floats) -> Floats:
        if self.metric == "accuracy":
            accuracy: Floats = 1.0 - weights.sum(axis=1, dtype=np.float64) / total
            return accuracy
        misses, extras = np.split((weights @ kinds).astype(np.float64), 2, axis=1)
        hits = support - misses
        below = hits + extras + support
        if self.metric == "micro_f1":
            return _ratio(2 * hits.sum(axis=1), below.sum(axis=1))
        f1 = _ratio(2 * hits, below)
        if self.metric == "weighted_f1":
            return _ratio((f1 * support).sum(axis=1), support.sum(axis=1))
        macro: Floats = f1.sum(axis=1) / ((below > 0).sum(axis=1) if self.only_seen else f1.shape[1])
        return macro


def _table(values: Labels, labels: int) -> NDArray[np.bool_]:
    return values.astype(np.bool_) if values.ndim > 1 else values[:, None] == np.arange(labels)


def _ratio(above: Floats, below: Floats) -> Floats:
    result: Floats = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
    return result


def _strata(truth: Labels) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """Order of rows with strata together, and for each row in that order where its stratum starts and its size."""
    key = truth.astype(np.int64)
    if truth.ndim > 1:
        # The rarest label of a row, as the splits are stratified; rows without a label are a stratum of their own.
        counts = np.where(truth.astype(np.bool_), truth.sum(axis=0), np.inf)
        key = np.where(np.isfinite(counts).any(axis=1), counts.argmin(axis=1), truth.shape[1])
    sizes = np.bincount(key)
    key = np.where(sizes[key] < LEAST_STRATUM, len(sizes), key)
    order = np.argsort(key, kind="stable")
    _, first, count = np.unique(key[order], return_index=True, return_counts=True)
    return order, np.repeat(first, count).astype(np.int32), np.repeat(count, count).astype(np.float32)


def _draw(rng: np.random.Generator, starts: NDArray[np.int32], sizes: NDArray[np.float32], count: int) -> Weights:
    """How often each row is drawn, with replacement within its stratum: float32 [count, n]."""
    rows = len(starts)
    within = np.minimum(rng.random((count, rows), dtype=np.float32) * sizes, sizes - 1).astype(np.int32)
    picked = within + starts + np.arange(count, dtype=np.int64)[:, None] * rows
    return np.bincount(picked.ravel(), minlength=count * rows).reshape(count, rows).astype(np.float32)


def _distance(difference: Difference, boundary: float) -> float:
    error = difference.standard_error
    gap = boundary - difference.loss
    return gap / error if error else math.copysign(math.inf, gap)
