"""Bounds of a difference in F1: paired bootstrap over validation rows and seeds. In: predictions. Out: bounds.

NumPy only. Every replicate draws the validation rows once for all runs, within the task's strata, recomputes the
metric from row scores, and draws the seeds. McNemar's test is about accuracy and normal theory is about means; F1 is
neither.

A difference is theta = F1(best) - F1(other), over unseen rows and seeds. Its variance has a row part, which shrinks
with 1 / rows, and a seed part, which shrinks with 1 / seeds. Runs of different seeds also differ by chance on
the same rows; the row part already contains that, so it is subtracted from the seed part. With few seeds their spread
is itself an estimate: the bound is widened by the ratio of Student's t to the normal quantile (Welch-Satterthwaite
degrees of freedom). The seed variance is pooled over the finalists, except those whose runs are all identical.

Rows that were not drawn can be unlike all that were: on n rows without a single error a bootstrap gives a width of 0,
and yet an error rate of -ln(1 - level) / n is compatible with them (at 95% the rule of three, 3 / n). No bound of a
difference or a score is closer than that.

Sources: Efron and Tibshirani 1993 (bootstrap); Owen 2007, arXiv:0712.1111 (rows x seeds); Holm 1979 (several
comparisons).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from lft_ray.selection.bootstrap import bootstrap_weights, grouped
from lft_ray.tasks.judging import Floats64, MetricOf, RowScores

__all__ = [
    "CONFIDENCE", "TWO_SIDED", "Difference", "Resampled", "holm_levels", "resample", "score_intervals", "student_t",
    "unseen_rate",
]  # fmt: skip

CONFIDENCE = 0.95
TWO_SIDED = 0.975
"""One-sided level of each end of a two-sided 95% interval."""
INTERVAL_REPLICATES = 1_000
"""Of the interval of one score: its ends move by 3% of its width from seed to seed, below the third digit shown."""
REPLICATES = 10_000
MIN_REPLICATES = 2_000
MAX_DRAWS = 200_000_000
"""Rows x replicates, a matter of seconds on one core. Above 20,000 rows fewer replicates suffice: the distribution is
smooth there."""
USUAL_RUNS = 25
"""Runs up to which the limit above holds; of more runs fewer replicates are drawn, so that the time is the same."""
CHUNK = 2_000_000
"""Row weights computed at a time: 8 MB, about the cache of a core."""


@dataclass(frozen=True)
class Difference:
    """How much worse one finalist is than another, with the distribution of the error.

    Attributes:
        loss: F1 of the best finalist minus F1 of this one.
        deviations: float64 [replicates], bootstrap distribution of the error of ``loss``.
        rows_variance: variance of the loss from the draw of rows.
        seeds_variance: variance of the loss from the draw of seeds.
        degrees_of_freedom: of the variance estimate; inf if no part of it was estimated from few seeds.
        rows: number of validation rows.
    """

    loss: float
    deviations: Floats64
    rows_variance: float
    seeds_variance: float
    degrees_of_freedom: float
    rows: int

    @property
    def standard_error(self) -> float:
        """Standard error of the loss."""
        return math.sqrt(self.rows_variance + self.seeds_variance)

    def upper(self, level: float = CONFIDENCE) -> float:
        """Upper bound of the loss at the one-sided confidence ``level``."""
        return self.loss + max(self._half_width(level, level), self._unseen(level))

    def lower(self, level: float = CONFIDENCE) -> float:
        """Lower bound of the loss at the one-sided confidence ``level``."""
        return self.loss + min(self._half_width(1.0 - level, level), -self._unseen(level))

    @property
    def interval(self) -> tuple[float, float]:
        """Two-sided 95% interval of the loss."""
        return self.lower(TWO_SIDED), self.upper(TWO_SIDED)

    def rows_needed(self, boundary: float, level: float = CONFIDENCE) -> int | None:
        """Number of validation rows at which the bound would reach ``boundary`` if the observed loss were the true one.

        half-width(n) = q x sqrt(rows_variance x rows / n + seeds_variance), where q is the present half-width in
        standard errors; solved for n with half-width = |boundary - loss|. A sample of that size settles the comparison
        one time in two, if it is not less than the rule of three asks for. None if the seed variance alone exceeds that
        half-width, or if there is no distance to the boundary.
        """
        error, gap = self.standard_error, abs(boundary - self.loss)
        if gap == 0.0:
            return None
        least = math.ceil(self.rows * self._unseen(level) / gap)
        if error == 0.0:
            return least
        quantile = abs(self._half_width(level if boundary >= self.loss else 1.0 - level, level)) / error
        room = (boundary - self.loss) ** 2 - quantile**2 * self.seeds_variance
        if room <= 0.0:
            return None
        return max(least, math.ceil(self.rows * quantile**2 * self.rows_variance / room))

    def _unseen(self, level: float) -> float:
        return unseen_rate(level, self.rows)

    def _half_width(self, quantile: float, level: float) -> float:
        widening = student_t(level, self.degrees_of_freedom) / NormalDist().inv_cdf(level)
        return float(np.quantile(self.deviations, quantile)) * widening


@dataclass(frozen=True)
class Resampled:
    """Observed and resampled scores of m finalists with k_i runs each.

    Attributes:
        observed: m arrays float64 [k_i], the metric of each run on all rows.
        replicates: m arrays float64 [B, k_i], the metric on resampled rows; replicate b uses equal rows for all runs.
        rows: number of validation rows.
        seed: random seed for the draws of training seeds.
        run_ids: trial ids of the runs of each finalist. Two finalists with the same runs are the same checkpoints
            served in two ways, so no seed variance lies between them. Empty: no two finalists share their runs.
        seedless: indices of finalists whose training does not depend on the seed: one run of them has no seed variance.
    """

    observed: list[Floats64]
    replicates: list[Floats64]
    rows: int
    seed: int = 0
    run_ids: tuple[tuple[str, ...], ...] = ()
    seedless: frozenset[int] = frozenset()

    @cached_property
    def means(self) -> Floats64:
        """Mean score of each finalist, [m]."""
        return np.array([values.mean() for values in self.observed])

    @property
    def covers_seeds(self) -> bool:
        """Whether seed variance is estimated: some finalist has differing runs, or every finalist has several runs, or
        needs no more than one.
        """
        return bool(self._spread_of) or all(
            len(values) > 1 or i in self.seedless for i, values in enumerate(self.observed)
        )

    def interval(self, finalist: int) -> tuple[float, float]:
        """Two-sided 95% interval of the mean score of a finalist over unseen rows and seeds, within 0 to 1."""
        by_rows, by_seeds = self._rows[:, finalist], self._seeds[:, finalist]
        rows_variance, seeds_variance = float(by_rows.var()), float(by_seeds.var())
        drawn = [] if self._is_fixed(finalist) else [finalist]
        degrees = self._degrees_of_freedom(drawn, rows_variance + seeds_variance)
        score, deviations = float(self.means[finalist]), by_rows + by_seeds
        low, high = Difference(score, deviations, rows_variance, seeds_variance, degrees, self.rows).interval
        return max(0.0, low), min(1.0, high)

    def difference(self, finalist: int, best: int) -> Difference:
        """The difference of two finalists, given by index, on the same rows."""
        by_rows = self._rows[:, best] - self._rows[:, finalist]
        shared = bool(self.run_ids) and self.run_ids[finalist] == self.run_ids[best]
        by_seeds = (self._seeds[:, best] - self._seeds[:, finalist]) * float(not shared)
        rows_variance, seeds_variance = float(by_rows.var()), float(by_seeds.var())
        drawn = [i for i in (finalist, best) if not shared and not self._is_fixed(i)]
        return Difference(
            loss=float(self.means[best] - self.means[finalist]),
            deviations=by_rows + by_seeds,
            rows_variance=rows_variance,
            seeds_variance=seeds_variance,
            degrees_of_freedom=self._degrees_of_freedom(drawn, rows_variance + seeds_variance),
            rows=self.rows,
        )

    def _degrees_of_freedom(self, drawn: Sequence[int], total: float) -> float:
        """Of a variance ``total`` that contains the seed variance of the finalists ``drawn``."""
        estimated = sum(self._raw_variance / len(self.observed[i]) for i in drawn)
        of_seeds = sum(len(self.observed[i]) - 1 for i in self._spread_of)
        if estimated <= 0.0 or not of_seeds:
            return math.inf
        # At least that of the seeds alone: row noise is subtracted, so ``total`` can be below ``estimated``.
        return of_seeds * max(1.0, total / estimated) ** 2

    @cached_property
    def _rows(self) -> Floats64:
        """Deviation of the mean over seeds, due to the draw of rows, [B, m]."""
        means = np.stack([values.mean(axis=1) for values in self.replicates], axis=1)
        centred: Floats64 = means - means.mean(axis=0)
        return centred

    def _is_fixed(self, finalist: int) -> bool:
        """Whether the seed has no effect, as with a linear model: several runs with equal predictions.

        Equal scores are not enough: on few rows two runs often make equally many errors, on different rows.
        """
        runs = self.replicates[finalist]
        return finalist in self.seedless or (runs.shape[1] > 1 and float(np.ptp(runs, axis=1).max()) == 0.0)

    @cached_property
    def _spread_of(self) -> list[int]:
        """Indices of the finalists whose runs estimate the seed variance: not those of equal scores, even by chance."""
        return [i for i, v in enumerate(self.observed) if float(np.ptp(v)) > 0.0 and not self._is_fixed(i)]

    @cached_property
    def _residuals(self) -> Floats64:
        """Deviation of each run from its finalist's mean, scaled so that the mean square estimates the variance."""
        groups = [self.observed[i] for i in self._spread_of]
        return np.concatenate([(g - g.mean()) * math.sqrt(len(g) / (len(g) - 1)) for g in groups] or [np.zeros(0)])

    @cached_property
    def _raw_variance(self) -> float:
        """Variance of one run over seeds, row noise included."""
        return float((self._residuals**2).mean()) if len(self._residuals) else 0.0

    @cached_property
    def _row_noise_variance(self) -> float:
        """The row noise in `_raw_variance`: row variance of single runs that cancels in the mean over seeds."""
        parts = []
        for i in self._spread_of:
            runs, k = self.replicates[i], len(self.observed[i])
            parts.append((float(runs.var(axis=0).mean()) - float(runs.mean(axis=1).var())) * k / (k - 1))
        return sum(parts) / len(parts) if parts else 0.0

    @cached_property
    def _seeds(self) -> Floats64:
        """Deviation of the mean of each finalist, due to the draw of seeds, [B, m]."""
        drawn = np.zeros((len(self.replicates[0]), len(self.observed)))
        if self._raw_variance == 0.0:
            return drawn
        rng = np.random.default_rng([self.seed, 1])
        # Shrink the residuals to the variance that is due to seeds alone.
        scale = math.sqrt(max(0.0, 1.0 - self._row_noise_variance / self._raw_variance))
        for i, values in enumerate(self.observed):
            if not self._is_fixed(i):
                picks = rng.integers(0, len(self._residuals), (len(drawn), len(values)))
                drawn[:, i] = self._residuals[picks].mean(axis=1) * scale
        return drawn


def resample(
    metric: MetricOf,
    finalists: Sequence[Sequence[RowScores]],
    strata: NDArray[np.int64],
    *,
    replicates: int | None = None,
    seed: int = 0,
    run_ids: Sequence[Sequence[str]] = (),
    seedless: Iterable[int] = (),
) -> Resampled:
    """Score m finalists on bootstrap samples of the rows. 10,000 replicates of 25 runs on 8,000 rows: about 10 s.

    Args:
        metric: the task's metric, of row scores.
        finalists: for each finalist the row scores of its runs, [n, k].
        strata: stratum of each row, int64 [n].
        replicates: number of bootstrap samples; None: 10,000, fewer above 20,000 rows.
        seed: random seed; equal seeds give equal numbers.
        run_ids: see `Resampled`.
        seedless: see `Resampled`.

    Raises:
        ValueError: there is no row or no run, the metric is unknown, or runs are of different rows.
    """
    runs = [run for finalist in finalists for run in finalist]
    rows = len(strata)
    if not rows or not runs or any(len(run) != rows for run in runs):
        raise ValueError(
            f"cannot compare {len(runs)} runs of {sorted({len(run) for run in runs})} rows: expected at least one run "
            f"and one row, and {rows} rows in each"
        )
    draws = rows * max(1.0, len(runs) / USUAL_RUNS)
    count = replicates or int(min(REPLICATES, max(MIN_REPLICATES, MAX_DRAWS / draws)))
    order, starts, sizes = grouped(strata)
    weighted = metric([run[order] for run in runs])
    observed = weighted(np.ones((1, rows), dtype=np.float32))[0]
    found = np.empty((count, len(runs)))
    rng = np.random.default_rng([seed, 0])
    step = max(1, CHUNK // rows)  # replicates per chunk
    for begin in range(0, count, step):
        part = found[begin : begin + step]
        part[:] = weighted(bootstrap_weights(rng, starts, sizes, len(part)))
    ends = np.cumsum([len(finalist) for finalist in finalists])[:-1]
    ids = tuple(tuple(runs_of) for runs_of in run_ids)
    return Resampled(np.split(observed, ends), np.split(found, ends, axis=1), rows, seed, ids, frozenset(seedless))


def score_intervals(
    metric: MetricOf, runs: Sequence[RowScores], strata: NDArray[np.int64], *, seed: int = 0
) -> list[tuple[float, float]]:
    """Two-sided 95% interval of the score of each single run over unseen rows: bootstrap within the task's strata.

    All runs are scored on the same 1,000 samples (fewer of many runs on many rows), so one call for all of them costs
    little more than one call for one. The seed of the run is not varied: this is about the checkpoint at hand.
    """
    limit = int(MAX_DRAWS / max(1.0, len(strata) * max(1.0, len(runs) / USUAL_RUNS)))
    replicates = max(200, min(INTERVAL_REPLICATES, limit))
    sample = resample(metric, [[run] for run in runs], strata, seed=seed, replicates=replicates)
    return [sample.interval(i) for i in range(len(runs))]


def unseen_rate(level: float, rows: int) -> float:
    """Largest rate, at one-sided confidence ``level``, of what none of the rows showed: the rule of three at 95%."""
    return -math.log(1.0 - level) / max(rows, 1)


def holm_levels(differences: Sequence[Difference], boundary: float, confidence: float = CONFIDENCE) -> list[float]:
    """One-sided confidence level for comparing each difference with ``boundary``, so that all hold simultaneously.

    Holm's procedure: the most certain of m at 1 - alpha / m, the next at 1 - alpha / (m - 1), and so on. From the first
    whose upper bound exceeds the boundary, all remaining ones get the level of that one.
    """
    alpha, m = 1.0 - confidence, len(differences)
    levels = [confidence] * m
    by_certainty = sorted(range(m), key=lambda i: _distance(differences[i], boundary), reverse=True)
    share, holds = alpha / max(1, m), True
    for step, i in enumerate(by_certainty):
        if holds:
            share = alpha / (m - step)
            holds = differences[i].upper(1.0 - share) <= boundary
        levels[i] = 1.0 - share
    return levels


def student_t(level: float, degrees_of_freedom: float) -> float:
    """Quantile of Student's t by the Cornish-Fisher expansion: 1% too low at 2 degrees of freedom, 12% at 1."""
    z = NormalDist().inv_cdf(level)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / degrees_of_freedom ** (power + 1) for power, term in enumerate(terms))


def _distance(difference: Difference, boundary: float) -> float:
    """Distance of the loss from the boundary in standard errors."""
    error = difference.standard_error
    gap = boundary - difference.loss
    return gap / error if error else math.copysign(math.inf, gap)
