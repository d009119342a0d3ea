"""What difference the validation rows can decide, before anything is trained. In: row counts. Out: `Power`. Pure.

The half-width of a bound is foreseen as 1.645 x sqrt(row variance + seed variance) of the difference of two equally
good models. Row variance: that of the score itself, p (1 - p) / rows at an F1 of p = 0.9, since two models that share
their rows differ about as much; a metric that weighs every label alike rests on fewer rows where some labels are rare.
Seed variance: 2 x 0.006^2 / seeds, the spread that finalists are screened with. Measured bounds replace all of this.
"""

import math
from collections.abc import Mapping
from statistics import NormalDist

from lft_ray.candidates import TaskRecord
from lft_ray.records import Record
from lft_ray.selection.screening import SEED_SPREAD
from lft_ray.selection.significance import CONFIDENCE

__all__ = ["ASSUMED_F1", "Power", "power_of"]

ASSUMED_F1 = 0.9
Z = NormalDist().inv_cdf(CONFIDENCE)


class Power(Record):
    """What a number of validation rows and seeds can decide."""

    validation_rows: int
    seeds: int
    """Fresh seeds per finalist, at most."""
    margin: float
    """``selection.margin``."""
    decidable: float
    """Smallest margin, as a fraction of F1, that two equally good models can be shown to be within."""
    rows_needed: int | None
    """Validation rows that would decide ``margin`` with these seeds; None: no number would."""
    seeds_needed: int | None
    """Fresh seeds per finalist from which on rows can decide ``margin``; None: the present number will do, or the
    margin is 0, which nothing decides."""

    @property
    def is_enough(self) -> bool:
        """Whether the margin can be decided."""
        return self.decidable <= self.margin

    @property
    def sentence(self) -> str:
        """For people, in one sentence."""
        margin = f"selection.margin of {self.margin * 100:g} points"
        can = (
            f"{self.validation_rows:,} validation rows and {self.seeds} {'seed' if self.seeds == 1 else 'seeds'} can "
            f"decide differences of about {self.decidable * 100:.1f} points of F1 (at an F1 of {ASSUMED_F1:g})"
        )
        if self.is_enough:
            return f"{can}, enough for the {margin}."
        if self.rows_needed is not None:
            return f"{can}, not the {margin}: that needs about {_round_up(self.rows_needed):,} validation rows."
        if self.seeds_needed is None:
            return f"{can}, not the {margin}: no number of rows can show that."
        return (
            f"{can}, not the {margin}: no number of rows would do with so few seeds; that needs at least "
            f"selection.confirmation_seeds: {self.seeds_needed} and more rows, or a wider margin."
        )


def power_of(counts: Mapping[str, int], rows: int, *, task: TaskRecord, margin: float, seeds: int) -> Power:
    """Foresee what can be decided.

    Args:
        counts: validation rows of each group that the task counts, such as each label; empty: not known.
        rows: number of validation rows.
        task: the task, which knows on how many rows its metric effectively rests.
        margin: ``selection.margin``.
        seeds: fresh seeds per finalist, at most.
    """
    seed_variance = 2.0 * SEED_SPREAD**2 / max(1, seeds)
    row_variance = ASSUMED_F1 * (1.0 - ASSUMED_F1) * task.row_spread(counts, rows)
    room = (margin / Z) ** 2 - seed_variance
    return Power(
        validation_rows=rows,
        seeds=seeds,
        margin=margin,
        decidable=Z * math.sqrt(row_variance + seed_variance),
        rows_needed=math.ceil(rows * row_variance / room) if room > 0.0 else None,
        seeds_needed=math.floor(2.0 * (SEED_SPREAD * Z / margin) ** 2) + 1 if room <= 0.0 < margin else None,
    )


def _round_up(rows: int) -> int:
    """Round up to two significant digits: the estimate is no more precise than that."""
    unit = int(10 ** max(0, len(str(rows)) - 2))
    return -(-rows // unit) * unit
