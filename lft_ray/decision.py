"""What is decided from the records of a study: points, finalists, the choice. Frozen values, like ``records.py``.

Nothing here computes.
"""

from typing import Any, Literal

from pydantic import Field

from lft_ray.records import Record, now_utc

__all__ = ["FrontPoint", "JudgedPoint", "LadderRow", "PrecisionCheck", "Selection"]


class FrontPoint(Record):
    """One servable point: a variant of a finished trial."""

    trial_id: str
    model_size: str
    precision: str
    max_length: int
    f1: float
    usd_per_million_predictions: float
    p95_ms: float | None = None


class LadderRow(FrontPoint):
    """Best finished trial of one model size."""

    on_front: bool
    dominated_by: str = ""
    """Trial id (and its model size in brackets) of a point that is no dearer and no worse."""


class JudgedPoint(FrontPoint):
    """A finalist as it was judged: ``f1`` is the mean of its fresh-seed runs, or its search score without any."""

    search_f1: float
    fresh_f1: list[float] = Field(default_factory=list)
    """Validation F1 of its fresh-seed runs, at its own precision and length."""
    loss: float = 0.0
    """F1 of the best finalist less its own, as a fraction; 0 for the best."""
    loss_upper: float | None = None
    """The loss is below this with 95% confidence, all comparisons together (Holm); None: it was not bounded."""
    standing: Literal["best", "proven", "within_noise", "worse"] = "within_noise"
    """proven: the bound is within the margin. worse: the loss is above the margin with 95% confidence."""


class PrecisionCheck(Record):
    """Whether a rounded checkpoint (int8, bf16) answers validation as it does in fp32."""

    trial_id: str
    """The run whose checkpoint would be shipped."""
    model_size: str
    precision: str
    max_length: int
    rows: int = 0
    agreement: float | None = None
    """Share of the rows with the same labels."""
    f1_loss: float | None = None
    """F1 in fp32 less F1 rounded, as a fraction."""
    f1_loss_upper: float | None = None
    """The loss is below this with 95% confidence, by paired bootstrap over the rows."""
    passed: bool = False
    """False: it was not allowed to win."""
    reason: str
    """One sentence without a full stop."""


class Selection(Record):
    """What was chosen, by which rule, and why."""

    policy: str
    margin: float
    front: list[FrontPoint]
    ladder: list[LadderRow]
    finalists: list[FrontPoint] = Field(default_factory=list)
    confirmed_f1: dict[str, list[float]] = Field(default_factory=dict)
    """Trial id -> F1 of its fresh-seed runs, at the winning or first variant; ``judged`` has each point's."""
    judged: list[JudgedPoint] = Field(default_factory=list)
    """Every point that could have won, cheapest first."""
    verdict: Literal["proven", "within_noise"] = "within_noise"
    rows_needed: int | None = None
    """Validation rows that would settle it; None: it is settled, or more rows alone would not settle it."""
    validation_rows: int = 0
    """Rows that the verdict rests on; 0: no saved predictions were compared."""
    winner: FrontPoint
    winner_seed_trial_id: str
    """The trial whose checkpoint is shipped (the winner itself, or its fresh-seed run of median F1)."""
    test_f1: float | None = None
    test_metrics: dict[str, float] = Field(default_factory=dict)
    test_rows: int = 0
    per_label: list[dict[str, Any]] = Field(default_factory=list)
    """On the test split (validation if there is none): label, precision, recall, f1, support."""
    confusion: list[list[int]] = Field(default_factory=list)
    precision_checks: list[PrecisionCheck] = Field(default_factory=list)
    """Rounded points that would have won, in the order they were looked at; the last one won if it passed."""
    excluded: dict[str, str] = Field(default_factory=dict)
    """Trial id -> why it was not allowed to win (cap, not finished)."""
    reason: str
    """One plain sentence."""
    decided_at: str = Field(default_factory=now_utc)
