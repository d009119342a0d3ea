"""Break-even of a search: its cost against monthly savings. In: priced points, search dollars. Out: `BreakEven`.

A month never costs less than the minimum replicas, so a cheaper prediction saves nothing while the traffic of the more
expensive model still fits those replicas: then both models cost the same floor, and the verdict says so. Pure.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from lft_ray.config import CostSpec, ServeSpec
from lft_ray.cost.dollars import monthly_usd
from lft_ray.cost.prices import Price
from lft_ray.records import FrontPoint, ProfileBook, Record, Selection, SizeOutcome, TrialRecord

__all__ = ["BreakEven", "Month", "Saving", "break_even", "break_even_of", "dollars"]

EQUAL_TOLERANCE = 1e-9
"""Relative difference below which two costs count as equal."""


@dataclass(frozen=True, slots=True)
class Month:
    """Traffic, replicas and price of a month of serving.

    Attributes:
        requests: single-text requests per month.
        min_replicas: replicas that run even without traffic.
        cpus_per_replica: CPU cores reserved by one replica.
        price: dollars per core second and device second.
    """

    requests: int
    min_replicas: int
    cpus_per_replica: int
    price: Price

    @classmethod
    def of(cls, cost: CostSpec, serve: ServeSpec, price: Price) -> "Month":
        """Return the monthly load of an experiment at a price."""
        return cls(
            requests=cost.traffic.requests_per_month,
            min_replicas=serve.autoscaling.min_replicas,
            cpus_per_replica=serve.cpus_per_replica,
            price=price,
        )

    def usd(self, usd_per_million: float, *, on_device: bool = False) -> float:
        """Dollars per month; see `lft_ray.cost.dollars.monthly_usd`."""
        return monthly_usd(
            usd_per_million,
            self.requests,
            min_replicas=self.min_replicas,
            cpus_per_replica=self.cpus_per_replica,
            price=self.price,
            on_device=on_device,
        )


class Saving(Record):
    """Comparison of the winner with one more expensive model."""

    against: Literal["largest_finalist", "dearest_size"]
    """Rival: the most expensive finalist, or the most expensive model size that finished a trial."""
    model_size: str
    trial_id: str
    usd_per_million_predictions: float
    monthly_usd: float
    saved_usd_per_month: float
    """At the configured traffic, minimum replicas included; 0 if nothing is saved."""
    verdict: Literal["pays", "floor", "never", "unknown"]
    """pays; floor: cheaper per prediction, but both months cost the minimum replicas; never: not cheaper; unknown: not
    cheaper than what finished, but more expensive sizes were not trained."""
    months: float | None = None
    """Months until the search has paid for itself at the configured traffic; None if it never does."""
    predictions: int | None = None
    """Predictions until the search has paid for itself; None if it never does."""
    predictions_by_traffic: int | None = None
    """Predictions until then if only traffic is paid for, as with replicas that are shared or scale to zero."""
    saves_from_requests: int | None = None
    """Floor only: monthly requests above which the rival needs more than the minimum replicas."""


class BreakEven(Record):
    """Cost of the search, and savings of its winner."""

    winner: str
    """Model size of the winner."""
    winner_usd_per_million_predictions: float
    winner_monthly_usd: float
    search_usd: float
    """Training dollars of all trials, confirmation runs included."""
    requests_per_month: int
    min_replicas: int
    savings: list[Saving]
    """Against the largest finalist, then against the most expensive model size that finished a trial."""
    untried: list[str] = Field(default_factory=list)
    """More expensive sizes of which no trial finished: what the winner saves against them is not known."""
    sentence: str
    """Summary for reports."""


def break_even_of(
    month: Month, profiles: ProfileBook | None, selection: Selection | None, records: Sequence[TrialRecord]
) -> BreakEven | None:
    """Break-even of a run; None before it has a winner."""
    if selection is None:
        return None
    devices = {p.model_size for p in (profiles.profiles if profiles else []) if p.device != "cpu"}
    return break_even(
        selection.winner,
        finalists=selection.finalists,
        ladder=selection.ladder,
        search_usd=sum(record.training_usd for record in records),
        month=month,
        on_device=lambda point: point.model_size in devices,
        untried=[
            row.model_size
            for row in selection.coverage
            if row.outcome is not SizeOutcome.FINISHED
            and (row.usd_per_million_predictions or math.inf) > selection.winner.usd_per_million_predictions
        ],
    )


def break_even(
    winner: FrontPoint,
    *,
    finalists: Sequence[FrontPoint],
    ladder: Sequence[FrontPoint],
    search_usd: float,
    month: Month,
    on_device: Callable[[FrontPoint], bool] = lambda _: False,
    untried: Sequence[str] = (),
) -> BreakEven:
    """Compare the savings of the winner with the cost of the search.

    Args:
        winner: selected point.
        finalists: confirmed points; the largest is the one most expensive to serve.
        ladder: best finished trial of each model size.
        search_usd: training dollars of all trials.
        month: traffic, replicas and price.
        on_device: returns whether a point is served on an accelerator.
        untried: model sizes more expensive than the winner of which no trial finished.
    """

    def monthly(point: FrontPoint) -> float:
        return month.usd(point.usd_per_million_predictions, on_device=on_device(point))

    rivals = [
        ("largest_finalist", _most_expensive(finalists) or winner),
        ("dearest_size", _most_expensive(ladder) or winner),
    ]
    savings = [_saving(name, winner, rival, search_usd, month, monthly) for name, rival in rivals]
    if untried:
        # "Never" would be a claim about sizes that nobody trained.
        savings = [s.replace(verdict="unknown") if s.verdict == "never" else s for s in savings]
    return BreakEven(
        winner=winner.model_size,
        winner_usd_per_million_predictions=winner.usd_per_million_predictions,
        winner_monthly_usd=monthly(winner),
        search_usd=search_usd,
        requests_per_month=month.requests,
        min_replicas=month.min_replicas,
        savings=savings,
        untried=list(untried),
        sentence=_sentence(winner, savings, search_usd, month, untried),
    )


def dollars(value: float) -> str:
    """Format dollars for prose: with cents from one dollar on, else with three significant digits."""
    if value >= 1.0 or value <= 0.0:
        return f"${value:,.2f}" if value else "$0"
    return f"${value:.{2 - math.floor(math.log10(value))}f}"


def _most_expensive(points: Sequence[FrontPoint]) -> FrontPoint | None:
    return max(points, key=lambda p: p.usd_per_million_predictions, default=None)


def _saving(
    against: str,
    winner: FrontPoint,
    rival: FrontPoint,
    search_usd: float,
    month: Month,
    monthly: Callable[[FrontPoint], float],
) -> Saving:
    winner_usd, rival_usd = winner.usd_per_million_predictions, rival.usd_per_million_predictions
    fields = {
        "against": against,
        "model_size": rival.model_size,
        "trial_id": rival.trial_id,
        "usd_per_million_predictions": rival_usd,
        "monthly_usd": monthly(rival),
    }
    if rival_usd <= winner_usd * (1.0 + EQUAL_TOLERANCE):
        return Saving.model_validate({**fields, "saved_usd_per_month": 0.0, "verdict": "never"})
    saved = monthly(rival) - monthly(winner)
    by_traffic = math.ceil(1e6 * search_usd / (rival_usd - winner_usd))
    # Equal months although a prediction is cheaper: the minimum replicas set both prices.
    if saved <= EQUAL_TOLERANCE * monthly(rival):
        more = {"verdict": "floor", "saves_from_requests": math.ceil(1e6 * monthly(rival) / rival_usd)}
        return Saving.model_validate(
            {**fields, **more, "saved_usd_per_month": 0.0, "predictions_by_traffic": by_traffic}
        )
    months = search_usd / saved
    found = {"verdict": "pays", "months": months, "predictions": math.ceil(months * month.requests)}
    return Saving.model_validate(
        {**fields, **found, "saved_usd_per_month": saved, "predictions_by_traffic": by_traffic}
    )


def _sentence(
    winner: FrontPoint, savings: Sequence[Saving], search_usd: float, month: Month, untried: Sequence[str]
) -> str:
    """Summarise the saving over the largest finalist if the winner is cheaper, else over the most expensive size."""
    spent = f"the search cost {dollars(search_usd)} of training"
    saving = next((s for s in savings if s.verdict in ("pays", "floor")), None)
    if saving is None and untried:
        return (
            f"Whether the search pays for itself is not known: {winner.model_size} is the most expensive to serve of "
            f"the sizes that finished, and no trial of {', '.join(untried)} did; {spent}."
        )
    if saving is None:
        return (
            f"The search never pays for itself in serving dollars: {winner.model_size} is itself the most "
            f"expensive to serve of all sizes that finished; {spent}."
        )
    name = "the largest finalist" if saving.against == "largest_finalist" else "the most expensive size that finished"
    if saving.verdict == "floor":
        replicas = (
            "one running replica sets" if month.min_replicas == 1 else f"{month.min_replicas} running replicas set"
        )
        return (
            f"At {month.requests:,} predictions a month {winner.model_size} saves nothing over {saving.model_size} "
            f"({name}): {replicas} the price of both, {dollars(saving.monthly_usd)} a month; it saves from "
            f"{saving.saves_from_requests:,} a month. If only traffic is paid for, {spent}, which is recovered after "
            f"{saving.predictions_by_traffic:,} predictions."
        )
    return (
        f"{winner.model_size} saves {dollars(saving.saved_usd_per_month)} a month over {saving.model_size} ({name}) at "
        f"{month.requests:,} predictions a month; {spent}, which is recovered after {saving.predictions:,} "
        f"predictions ({_span(saving.months or 0.0)})."
    )


def _span(months: float) -> str:
    # 730 hours a month, as in `HOURS_PER_MONTH`.
    days = months * 730.0 / 24.0
    if days < 1.0:
        return "less than a day"
    return f"{days:.0f} days" if days < 60.0 else f"{months:.1f} months"
