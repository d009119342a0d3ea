"""Records of the decision: points, what was compared and what was not, the verdict. In: JSON. Out: frozen records.

Never computes.
"""

from enum import StrEnum
from typing import Literal

from pydantic import Field
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from lft_ray.config.base import Dollars, Score
from lft_ray.records.base import Record, now_utc

__all__ = [
    "Comparison", "ConfirmationCount", "FrontPoint", "Interval", "JudgedPoint", "LabelScores", "LadderRow",
    "NotCompared", "PrecisionCheck", "Selection", "SizeCoverage", "SizeOutcome", "VerdictKind",
]  # fmt: skip

Interval = tuple[float, float]
"""Lower and upper end of a two-sided 95% interval."""


class VerdictKind(StrEnum):
    """What can be claimed about a winner. Only of what was compared."""

    PROVEN = "proven"
    """The bounds rule out, with 95% confidence, that noise made the choice among the points compared."""
    WITHIN_NOISE = "within_noise"
    """Compared, but rows and seeds at hand cannot separate the points to the margin."""
    UNOPPOSED = "unopposed"
    """No other model size finished: the winner was compared with nothing."""
    INCOMPLETE = "incomplete"
    """A finalist that one seed cannot rule out was not compared."""
    UNCONFIRMED = "unconfirmed"
    """There are no fresh seeds or no saved predictions, so no difference is bounded."""

    @property
    def words(self) -> str:
        """As it is printed: ``within noise``."""
        return self.value.replace("_", " ")


class SizeOutcome(StrEnum):
    """What became of a model size in a search."""

    FINISHED = "finished"
    """At least one of its trials finished."""
    NOT_TRIED = "not_tried"
    """No trial was started: out of time, money or trials."""
    OVER_CAP = "over_cap"
    """Not trained, or not served: it exceeds ``selection.max_usd_per_million`` or ``cost.traffic.p95_ms``."""
    FAILED = "failed"
    STOPPED = "stopped"
    """Its trials were stopped before their end."""
    INFEASIBLE = "infeasible"
    UNFINISHED = "unfinished"
    """Started, and neither finished nor given up yet."""


class FrontPoint(Record):
    """One point in the plane of cost and F1: a variant of a finished trial."""

    trial_id: str
    model_size: str
    precision: str
    max_length: int
    f1: Score
    usd_per_million_predictions: Dollars
    p95_ms: float | None = None
    f1_interval: Interval | None = None
    """95% interval of ``f1``; None: there are no saved predictions to compute it from."""


class LadderRow(FrontPoint):
    """Best finished trial of one model size, with its relation to the Pareto front."""

    on_front: bool
    dominated_by: str = ""
    """Trial id, with its model size in brackets, of a point that costs no more and is no worse."""


class JudgedPoint(FrontPoint):
    """A finalist as it was compared: ``f1`` is the mean of its fresh-seed runs, or its search score without any."""

    search_f1: Score
    fresh_f1: list[float] = Field(default_factory=list)
    """Validation F1 of its fresh-seed runs, at its own precision and length."""
    loss: float = 0.0
    """F1 of the best finalist minus its own, as a fraction; 0 for the best."""
    loss_upper: float | None = None
    """Upper 95% confidence bound of the loss, corrected for all comparisons (Holm); None: no bound was computed."""
    standing: Literal["best", "proven", "within_noise", "worse"] = "within_noise"
    """proven: the bound is within the margin. worse: the loss exceeds the margin with 95% confidence."""
    is_seedless: bool = False
    """Training does not depend on the seed (linear models): its search run counts as a confirmation run."""


class Comparison(FrontPoint):
    """A point that the winner was compared with, and how far apart they are."""

    difference: float
    """F1 of the winner minus F1 of this point, as a fraction."""
    interval: Interval | None = None
    """95% interval of the difference, by paired bootstrap over rows and seeds; None: it was not bounded."""


class NotCompared(Record):
    """A finalist that the verdict needs and that was not compared."""

    model_size: str
    trial_id: str
    reason: str


class SizeCoverage(Record):
    """What a study did with one model size."""

    model_size: str
    outcome: SizeOutcome
    reason: str = ""
    """Why no trial of this size finished, such as ``not tried: out of time``; empty if one did."""
    trials: dict[str, int] = Field(default_factory=dict)
    """Status of its search trials -> number; ``unfinished`` for those that were started and have no record."""
    causes: dict[str, int] = Field(default_factory=dict)
    """Reason of a search trial that did not finish -> number of trials."""
    usd_per_million_predictions: float | None = None
    """Serving cost of its cheapest profiled variant; None: it was not profiled."""


class ConfirmationCount(Record):
    """How the confirmation runs of a study ended."""

    done: int = 0
    failed: int = 0
    stopped: int = 0
    """Stopped, or infeasible."""
    causes: dict[str, int] = Field(default_factory=dict)
    """Reason of a run that did not finish -> number of runs."""

    @property
    def total(self) -> int:
        """All ended confirmation runs."""
        return self.done + self.failed + self.stopped


class PrecisionCheck(Record):
    """Comparison of a checkpoint in reduced precision (int8, bf16) with fp32, on the validation split."""

    trial_id: str
    """Id of the trial whose checkpoint would be shipped."""
    model_size: str
    precision: str
    max_length: int
    rows: int = 0
    agreement: float | None = None
    """Fraction of the rows with the same predicted labels."""
    f1_loss: float | None = None
    """F1 in fp32 minus F1 in reduced precision, as a fraction."""
    f1_loss_upper: float | None = None
    """Upper 95% confidence bound of the loss, by paired bootstrap over the rows."""
    passed: bool = False
    """False: this variant cannot win."""
    reason: str
    """One sentence without a full stop."""


class LabelScores(TypedDict):
    """Scores of one label, as tasks return them."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


class Selection(Record):
    """The winner, the policy that chose it, and the evidence."""

    policy: str
    margin: float
    front: list[FrontPoint]
    ladder: list[LadderRow]
    finalists: list[FrontPoint] = Field(default_factory=list)
    confirmed_f1: dict[str, list[float]] = Field(default_factory=dict)
    """Trial id -> F1 of its fresh-seed runs, for the winning or first variant; ``judged`` has those of each point."""
    judged: list[JudgedPoint] = Field(default_factory=list)
    """All points that could have won, cheapest first."""
    verdict: VerdictKind = VerdictKind.WITHIN_NOISE
    compared_with: list[Comparison] = Field(default_factory=list)
    """All other points in the comparison, cheapest first: the verdict is about these and no others."""
    not_compared: list[NotCompared] = Field(default_factory=list)
    """Finalists that one seed cannot rule out and that were not compared; with any, nothing is proven."""
    coverage: list[SizeCoverage] = Field(default_factory=list)
    """What became of each model size of the study, cheapest first."""
    confirmations: ConfirmationCount = ConfirmationCount()
    rows_needed: int | None = None
    """Estimated validation rows needed for a proof; None: it is proven, or more rows alone would not suffice."""
    validation_rows: int = 0
    """Validation rows on which the verdict is based; 0: no saved predictions were compared."""
    winner: FrontPoint
    winner_seed_trial_id: str
    """Id of the trial whose checkpoint is shipped: the winner itself, or its fresh-seed run of median F1."""
    checkpoint_f1: float | None = None
    """Validation F1 of the shipped checkpoint, at the winner's precision and length."""
    checkpoint_f1_interval: Interval | None = None
    f1_intervals: dict[str, Interval] = Field(default_factory=dict)
    """``trial id/precision/max length`` -> 95% interval of the validation F1 of each evaluated variant."""
    test_f1: Score | None = None
    """Of the shipped checkpoint, ``winner_seed_trial_id``."""
    test_f1_interval: Interval | None = None
    test_metrics: dict[str, float] = Field(default_factory=dict)
    test_rows: int = 0
    per_label: list[LabelScores] = Field(default_factory=list)
    """On the test split (validation if there is none): label, precision, recall, f1, support."""
    confusion: list[list[int]] = Field(default_factory=list)
    """Confusion matrix on the same split: one row per true label, one column per predicted label."""
    precision_checks: list[PrecisionCheck] = Field(default_factory=list)
    """Points in reduced precision that would have won, in the order of their checks; the last one won if it passed."""
    excluded: dict[str, str] = Field(default_factory=dict)
    """Trial id -> why it could not win (cost or latency limit, not finished)."""
    reason: str
    """The decision in one sentence."""
    remarks: list[str] = Field(default_factory=list)
    """Further sentences that belong to the decision: sizes without a finished trial, failed runs, test against
    validation. Shown wherever ``reason`` is."""
    decided_at: str = Field(default_factory=now_utc)
