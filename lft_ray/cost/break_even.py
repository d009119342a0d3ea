"""Does the search pay? In: points with their serving dollars, and what the search cost. Out: savings a month. Pure.

A month never costs less than the replicas that are kept running, so a cheaper prediction saves nothing while the dearer
model's traffic still fits the same replicas: then both cost the floor, and the answer says so.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from lft_ray.config import CostSpec, ServeSpec
from lft_ray.cost.dollars import monthly_usd
from lft_ray.cost.prices import Price
from lft_ray.records import FrontPoint, ProfileBook, Record, Selection, TrialRecord

__all__ = ["BreakEven", "Month", "Saving", "break_even", "break_even_of", "dollars"]

ALIKE = 1e-9
"""Relative difference below which two costs are the same measured number."""


@dataclass(frozen=True, slots=True)
class Month:
    """What a month of serving is bought with.

    Attributes:
        requests: single-text requests a month.
        min_replicas: replicas that stay up without traffic.
        cpus_per_replica: cores that one replica holds.
        price: dollars per core second and device second.
    """

    requests: int
    min_replicas: int
    cpus_per_replica: int
    price: Price

    @classmethod
    def of(cls, cost: CostSpec, serve: ServeSpec, price: Price) -> "Month":
        """The month that an experiment buys at a price."""
        return cls(
            requests=cost.traffic.requests_per_month,
            min_replicas=serve.autoscaling.min_replicas,
            cpus_per_replica=serve.cpus_per_replica,
            price=price,
        )

    def usd(self, usd_per_million: float, *, on_device: bool = False) -> float:
        """Dollars a month; see `lft_ray.cost.dollars.monthly_usd`."""
        return monthly_usd(
            usd_per_million,
            self.requests,
            min_replicas=self.min_replicas,
            cpus_per_replica=self.cpus_per_replica,
            price=self.price,
            on_device=on_device,
        )


class Saving(Record):
    """The winner beside one dearer choice."""

    against: Literal["largest_finalist", "dearest_size"]
    model_size: str
    trial_id: str
    usd_per_million_predictions: float
    monthly_usd: float
    saved_usd_per_month: float
    """At the stated traffic, running replicas counted; 0 where nothing is saved."""
    verdict: Literal["pays", "floor", "never"]
    """pays; floor: cheaper a prediction, but both months cost what the running replicas cost; never: not cheaper."""
    months: float | None = None
    """Until the search has paid for itself at the stated traffic; None where it does not."""
    predictions: int | None = None
    """The same in predictions."""
    predictions_by_traffic: int | None = None
    """Predictions until then if only traffic were paid for, as on replicas that are shared or scaled to zero."""
    saves_from_requests: int | None = None
    """Floor only: requests a month above which the dearer choice outgrows the running replicas."""


class BreakEven(Record):
    """What the search cost, and what its winner saves."""

    winner: str
    """Model size."""
    winner_usd_per_million_predictions: float
    winner_monthly_usd: float
    search_usd: float
    """Training dollars of every trial, runs with fresh seeds included."""
    requests_per_month: int
    min_replicas: int
    savings: list[Saving]
    """Against the largest finalist first, then against the dearest model size that finished a trial."""
    sentence: str


def break_even_of(
    month: Month, profiles: ProfileBook | None, selection: Selection | None, records: Sequence[TrialRecord]
) -> BreakEven | None:
    """The break-even of a run; None before it has a winner."""
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
    )


def break_even(
    winner: FrontPoint,
    *,
    finalists: Sequence[FrontPoint],
    ladder: Sequence[FrontPoint],
    search_usd: float,
    month: Month,
    on_device: Callable[[FrontPoint], bool] = lambda _: False,
) -> BreakEven:
    """Set the winner's saving against what the search cost.

    Args:
        winner: the chosen point.
        finalists: points that were confirmed; the largest is the one that costs most to serve.
        ladder: best finished trial of each model size.
        search_usd: training dollars spent, all trials.
        month: traffic, replicas and price.
        on_device: whether a point is served on an accelerator.
    """

    def monthly(point: FrontPoint) -> float:
        return month.usd(point.usd_per_million_predictions, on_device=on_device(point))

    rivals = [
        ("largest_finalist", _most_expensive(finalists) or winner),
        ("dearest_size", _most_expensive(ladder) or winner),
    ]
    savings = [_saving(name, winner, rival, search_usd, month, monthly) for name, rival in rivals]
    return BreakEven(
        winner=winner.model_size,
        winner_usd_per_million_predictions=winner.usd_per_million_predictions,
        winner_monthly_usd=monthly(winner),
        search_usd=search_usd,
        requests_per_month=month.requests,
        min_replicas=month.min_replicas,
        savings=savings,
        sentence=_sentence(winner, savings, search_usd, month),
    )


def dollars(value: float) -> str:
    """Dollars as a sentence says them: cents from a dollar on, else three digits."""
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
    cheap, dear = winner.usd_per_million_predictions, rival.usd_per_million_predictions
    fields = {
        "against": against,
        "model_size": rival.model_size,
        "trial_id": rival.trial_id,
        "usd_per_million_predictions": dear,
        "monthly_usd": monthly(rival),
    }
    if dear <= cheap * (1.0 + ALIKE):
        return Saving.model_validate({**fields, "saved_usd_per_month": 0.0, "verdict": "never"})
    saved = monthly(rival) - monthly(winner)
    by_traffic = math.ceil(1e6 * search_usd / (dear - cheap))
    if saved <= ALIKE * monthly(rival):
        more = {"verdict": "floor", "saves_from_requests": math.ceil(1e6 * monthly(rival) / dear)}
        return Saving.model_validate(
            {**fields, **more, "saved_usd_per_month": 0.0, "predictions_by_traffic": by_traffic}
        )
    months = search_usd / saved
    found = {"verdict": "pays", "months": months, "predictions": math.ceil(months * month.requests)}
    return Saving.model_validate(
        {**fields, **found, "saved_usd_per_month": saved, "predictions_by_traffic": by_traffic}
    )


def _sentence(winner: FrontPoint, savings: Sequence[Saving], search_usd: float, month: Month) -> str:
    """One plain sentence: the largest finalist where the winner is cheaper than it, else the dearest size."""
    spent = f"the search cost {dollars(search_usd)} of training"
    saving = next((s for s in savings if s.verdict != "never"), None)
    if saving is None:
        return (
            f"The search never pays for itself in serving dollars: {winner.model_size} is itself the dearest to serve "
            f"of all that finished; {spent}."
        )
    name = "the largest finalist" if saving.against == "largest_finalist" else "the dearest size"
    if saving.verdict == "floor":
        replicas = (
            "one running replica sets" if month.min_replicas == 1 else f"{month.min_replicas} running replicas set"
        )
        return (
            f"At {month.requests:,} predictions a month {winner.model_size} saves nothing over {saving.model_size} "
            f"({name}): {replicas} the price of both, {dollars(saving.monthly_usd)} a month; it saves from "
            f"{saving.saves_from_requests:,} a month. Where only traffic is paid for, {spent}, which is back after "
            f"{saving.predictions_by_traffic:,} predictions."
        )
    return (
        f"{winner.model_size} saves {dollars(saving.saved_usd_per_month)} a month over {saving.model_size} ({name}) at "
        f"{month.requests:,} predictions a month; {spent}, which is back after {saving.predictions:,} predictions "
        f"({_span(saving.months or 0.0)})."
    )


def _span(months: float) -> str:
    days = months * 730.0 / 24.0
    if days < 1.0:
        return "less than a day"
    return f"{days:.0f} days" if days < 60.0 else f"{months:.1f} months"
