"""Cost, data and winner sections of the report. In: records and prices. Out: plain rows for tables.

Never measures and never decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lft_ray.config import CostSpec, SearchSpec, ServeSpec
from lft_ray.cost.break_even import Month
from lft_ray.cost.dollars import usd_per_million_predictions
from lft_ray.cost.prices import Price
from lft_ray.records import DatasetRecord, ProfileBook, Selection, TrialRecord
from lft_ray.system.text import quoted

__all__ = ["MoneySpecs", "commands", "cost_view", "data_view", "environment_rows", "winner_monthly"]


@dataclass(frozen=True, slots=True)
class MoneySpecs:
    """Prices and budgets of a run and its endpoint.

    Attributes:
        price: price of a core-second and a device-second.
        cost: traffic and utilisation.
        search: budget of the search.
        serve: replicas of the endpoint.
    """

    price: Price
    cost: CostSpec
    search: SearchSpec
    serve: ServeSpec

    @property
    def month(self) -> Month:
        """Traffic and prices of one month of serving."""
        return Month.of(self.cost, self.serve, self.price)


def cost_view(money: MoneySpecs, book: ProfileBook | None, records: Sequence[TrialRecord]) -> dict[str, Any]:
    """Serving cost of each profile, and training cost by model size."""
    price, cost = money.price, money.cost
    devices = [p.device for p in (book.profiles if book else [])]
    return {
        "price": price,
        "on_device": any(d != "cpu" for d in devices) or any(r.usage.device_s for r in records),
        "core_hour_usd": price.usd_per_core_s * 3600,
        "device_hour_usd": price.usd_per_device_s * 3600 or None,
        "profiles": _profile_rows(money, book),
        "ingress": book.ingress if book else None,
        "requests": cost.traffic.requests_per_month,
        "utilisation": cost.utilisation,
        "min_replicas": money.serve.autoscaling.min_replicas,
        "spent": _spent_rows(records),
        "spent_usd": sum(r.training_usd for r in records),
        "budget_usd": money.search.budget_usd,
        "minutes": money.search.minutes,
    }


def _profile_rows(money: MoneySpecs, book: ProfileBook | None) -> list[dict[str, Any]]:
    if book is None:
        return []
    rows, month, utilisation = [], money.month, money.cost.utilisation
    for profile in book.profiles:
        usd = usd_per_million_predictions(profile, book.ingress, money.price, utilisation=utilisation)
        rows.append(
            {
                **profile.model_dump(),
                "usd": usd,
                "monthly_usd": month.usd(usd, on_device=profile.device != "cpu"),
            }
        )
    return sorted(rows, key=lambda r: (r["usd"], r["model_size"]))


def winner_monthly(month: Month, book: ProfileBook | None, selection: Selection | None) -> dict[str, Any]:
    """Monthly cost of the winner in total and for the traffic alone, and whether the minimum of replicas sets it."""
    if selection is None:
        return {"usd": None, "traffic_usd": None, "is_floor": False}
    winner = selection.winner
    on_device = any(p.model_size == winner.model_size and p.device != "cpu" for p in (book.profiles if book else []))
    per_million = winner.usd_per_million_predictions
    usd = month.usd(per_million, on_device=on_device)
    traffic_usd = month.requests / 1e6 * per_million
    return {"usd": usd, "traffic_usd": traffic_usd, "is_floor": usd > traffic_usd}


def _spent_rows(records: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for record in records:
        row = rows.setdefault(
            record.config.model_size,
            {"size": record.config.model_size, "trials": 0, "core_s": 0.0, "device_s": 0.0, "tokens": 0, "usd": 0.0},
        )
        row["trials"] += 1
        row["core_s"] += record.usage.core_s
        row["device_s"] += record.usage.device_s
        row["tokens"] += record.usage.tokens
        row["usd"] += record.training_usd
    return sorted(rows.values(), key=lambda r: -r["usd"])


def data_view(dataset: DatasetRecord) -> dict[str, Any]:
    """Splits, labels and findings of the data."""
    splits = [dataset.splits[name] for name in ("train", "validation", "test") if name in dataset.splits]
    labels = []
    groups = dataset.labels or (list(splits[0].label_counts) if splits else [])
    for label in groups:
        counts = [split.label_counts.get(label, 0) for split in splits]
        labels.append({"label": label, "counts": counts, "share": counts[0] / max(1, splits[0].rows) if splits else 0})
    return {
        "splits": splits,
        "labels": labels,
        "top_share": max((row["share"] for row in labels), default=0) or 1,
        "problems": sorted(dataset.problems, key=lambda p: (p.severity != "error", p.code)),
    }


def environment_rows(environment: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Flatten a nested dictionary into (name, value) pairs."""
    rows: list[tuple[str, str]] = []
    for key, value in environment.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            rows += environment_rows(value, f"{name}.")
        else:
            rows.append((name, ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)))
    return rows


def commands(run: str, name: str) -> str:
    """Commands that show, deploy or repeat a study.

    Args:
        run: run folder, as the user would type it.
        name: name of the study.
    """
    target, file = quoted(run), quoted(f"{run}/experiment.yaml")
    return "\n".join(
        [
            f"lft leaderboard {target}",
            f"lft deploy {target}",
            "",
            "# repeat the study in a new run folder",
            f"lft search {file} --set name={name}-again",
        ]
    )
