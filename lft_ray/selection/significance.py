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

from lft_ray.selection.metrics import METRICS, Floats, Labels, WeightedScores, draw, strata

__all__ = ["CONFIDENCE", "Difference", "Resampled", "holm_levels", "resample", "student_t"]

CONFIDENCE = 0.95
REPLICATES = 10_000
LEAST_REPLICATES = 2_000
DRAWS = 200_000_000
"""Rows x replicates: seconds on one core. From 20,000 rows on fewer replicates do; the distribution is smooth there."""
CHUNK = 2_000_000
"""Row weights made at a time: 8 MB, which stays in the cache of a core or close to it."""


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
        names: the runs of each finalist, by name. Two finalists with the same runs are the same checkpoints served in
            two ways: no draw of seeds comes between them. Empty: no two share theirs.
    """

    observed: list[Floats]
    replicates: list[Floats]
    rows: int
    seed: int = 0
    names: tuple[tuple[str, ...], ...] = ()

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
        shared = bool(self.names) and self.names[finalist] == self.names[best]
        by_seeds = (self._seeds[:, best] - self._seeds[:, finalist]) * float(not shared)
        rows_variance, seeds_variance = float(by_rows.var()), float(by_seeds.var())
        drawn = [i for i in (finalist, best) if not shared and not self._is_fixed(i)]
        guessed = sum(self._raw_variance / len(self.observed[i]) for i in drawn)
        total = rows_variance + seeds_variance
        freedom = sum(len(self.observed[i]) - 1 for i in self._spread_of)
        return Difference(
            loss=float(self.means[best] - self.means[finalist]),
            deviations=by_rows + by_seeds,
            rows_variance=rows_variance,
            seeds_variance=seeds_variance,
            # Never less than that of the seeds alone: the luck with rows, taken out above, must not make it so.
            freedom=freedom * max(1.0, total / guessed) ** 2 if guessed > 0.0 and freedom else math.inf,
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
    names: Sequence[Sequence[str]] = (),
) -> Resampled:
    """Score m finalists on rows drawn again and again. 10,000 replicates of 25 runs on 8,000 rows: about ten seconds.

    Args:
        truth: int [n] label numbers, or bool [n, c] for several labels a row.
        answers: for each finalist its runs, each shaped as ``truth``.
        metric: one of `METRICS`.
        replicates: how many; None: 10,000, fewer above 20,000 rows.
        seed: equal seeds give equal numbers.
        names: see `Resampled`.

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
    order, starts, sizes = strata(truth)
    counter = WeightedScores(truth[order], [run[order] for run in runs], metric)
    observed = counter.scores(np.ones((1, rows), dtype=np.float32))[0]
    found = np.empty((count, len(runs)))
    rng = np.random.default_rng([seed, 0])
    step = max(1, CHUNK // rows)
    for begin in range(0, count, step):
        part = found[begin : begin + step]
        part[:] = counter.scores(draw(rng, starts, sizes, len(part)))
    ends = np.cumsum([len(finalist) for finalist in answers])[:-1]
    named = tuple(tuple(runs_of) for runs_of in names)
    return Resampled(np.split(observed, ends), np.split(found, ends, axis=1), rows, seed, named)


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


def _distance(difference: Difference, boundary: float) -> float:
    error = difference.standard_error
    gap = boundary - difference.loss
    return gap / error if error else math.copysign(math.inf, gap)
