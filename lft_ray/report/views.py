"""Trials, points and curves of the report. In: records. Out: plain rows and chart data.

A stopped, failed or infeasible trial has no F1 here: only completed trials have a final measurement. Never computes a
new score.
"""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from lft_ray.records import Cascade, FrontPoint, Selection, SizeCoverage, TrialConfig, TrialRecord, TrialStatus
from lft_ray.report.formats import DASH, Naming, learning_rate, method, milliseconds, notable_method, score, usd
from lft_ray.run.ledger import trial_order
from lft_ray.selection.coverage import untried
from lft_ray.selection.front import front, ladder, points_of
from lft_ray.selection.intervals import interval_key, interval_of
from lft_ray.selection.leaderboard import cascade_point

__all__ = [
    "comparison",
    "curve_data",
    "finalist_rows",
    "fresh_f1",
    "front_data",
    "ladder_rows",
    "trial_rows",
]

STANDINGS = {"proven": "within the margin", "within_noise": "within noise", "worse": "worse than the margin"}


def front_data(
    records: Sequence[TrialRecord], selection: Selection | None, cascades: Sequence[Cascade] = ()
) -> dict[str, Any]:
    """Points of the cost-F1 chart with their hover texts, and the lines drawn in it."""
    points = points_of(records)
    pairs = {cascade.pair: cascade for cascade in cascades}
    both = [cascade_point(cascade) for cascade in pairs.values()]
    configs = {r.trial_id: r.config for r in records}
    on_front = {_key(p) for p in front([*(selection.front if selection else points), *both])}
    on_ladder = {_key(p) for p in (selection.ladder if selection else ladder(points))}
    winner = _key(selection.winner) if selection else None
    naming = Naming(records)
    rows = [
        {
            "trial": p.trial_id,
            "size": p.model_size,
            "variant": naming(p),
            "usd": p.usd_per_million_predictions,
            "f1": p.f1,
            "f1_interval": interval_of(selection.f1_intervals, p) if selection else None,
            "on_front": _key(p) in on_front,
            "on_ladder": _key(p) in on_ladder,
            "winner": _key(p) == winner,
            "hover": _cascade_hover(p, pairs[p.trial_id]) if p.trial_id in pairs else _hover(p, configs[p.trial_id]),
        }
        for p in [*points, *both]
    ]
    return {"points": rows, "confirmed": _confirmed(selection, naming), "floor": _floor(selection)}


def _confirmed(selection: Selection | None, naming: Naming) -> list[dict[str, Any]]:
    """Mean and range over fresh seeds of the compared points, not of every variant that was evaluated with them."""
    return [
        {
            "trial": point.trial_id,
            "size": point.model_size,
            "variant": naming(point),
            "usd": point.usd_per_million_predictions,
            "f1": fmean(point.fresh_f1),
            "low": min(point.fresh_f1),
            "high": max(point.fresh_f1),
            "runs": len(point.fresh_f1),
        }
        for point in (selection.judged if selection else [])
        if point.fresh_f1
    ]


def _floor(selection: Selection | None) -> float | None:
    """Minimum F1 for the policy to choose a point, from the scores that decided."""
    if selection is None or selection.policy != "cheapest_within" or not selection.judged:
        return None
    return max(point.f1 for point in selection.judged) - selection.margin


def fresh_f1(selection: Selection | None, point: FrontPoint) -> list[float]:
    """F1 of the fresh-seed runs of a point, at its own precision and length; empty without any."""
    judged = selection.judged if selection else []
    return next((p.fresh_f1 for p in judged if _key(p) == _key(point)), [])


def finalist_rows(selection: Selection | None) -> list[dict[str, Any]]:
    """The compared points, cheapest first: seeds, mean F1, loss in percentage points with its 95% bound, and status."""
    if selection is None:
        return []
    winner, compared = _key(selection.winner), {_key(point): point for point in selection.compared_with}
    return [
        {
            **point.model_dump(),
            "seeds": len(point.fresh_f1),
            "loss_points": None if point.standing == "best" else point.loss * 100,
            "upper_points": None if point.loss_upper is None else point.loss_upper * 100,
            "standing": "best" if point.standing == "best" else STANDINGS[point.standing],
            "winner": _key(point) == winner,
            "difference": compared[_key(point)].difference if _key(point) in compared else None,
            "difference_interval": compared[_key(point)].interval if _key(point) in compared else None,
        }
        for point in selection.judged
    ]


def _hover(point: FrontPoint, config: TrialConfig) -> str:
    lines = [
        f"<b>{point.model_size}</b>  {point.trial_id}",
        f"F1 {score(point.f1)}   {usd(point.usd_per_million_predictions)} per million",
        f"p95 {milliseconds(point.p95_ms)}   {point.precision}, {point.max_length} tokens",
    ]
    if config.learning_rate is not None:
        rate = learning_rate(config.learning_rate)
        lines.append(f"lr {rate}   batch {config.batch_size}   epochs {config.epochs}")
    if how := notable_method(config):
        lines.append(how)
    return "<br>".join(lines)


def _cascade_hover(point: FrontPoint, cascade: Cascade) -> str:
    return "<br>".join(
        [
            f"<b>{point.model_size}</b>  cascade of {point.trial_id}",
            f"F1 {score(point.f1)}   {usd(point.usd_per_million_predictions)} per million",
            f"the large model predicts {cascade.share:.0%} of the texts",
        ]
    )


def ladder_rows(
    records: Sequence[TrialRecord], selection: Selection | None, coverage: Sequence[SizeCoverage] = ()
) -> list[dict[str, Any]]:
    """Best trial of each model size, cheapest first, then the sizes of which none finished, with the reason."""
    rows = selection.ladder if selection else ladder(points_of(records))
    winner = _key(selection.winner) if selection else None
    finished = [{**row.model_dump(), "winner": _key(row) == winner, "reason": ""} for row in rows]
    shown = {row.model_size for row in rows}
    return finished + [row.model_dump() for row in untried(coverage) if row.model_size not in shown]


def trial_rows(records: Sequence[TrialRecord], selection: Selection | None = None) -> list[dict[str, Any]]:
    """One row per trial for the sortable table: search trials by id, then fresh-seed runs."""
    rows, intervals = [], selection.f1_intervals if selection else {}
    for record in sorted(records, key=lambda r: (r.role != "search", trial_order(r.trial_id))):
        best = record.reference_variant
        config, usage = record.config, record.usage
        measured = record.status is TrialStatus.DONE or usage.wall_s > 0
        rows.append(
            {
                "id": record.trial_id,
                "role": f"fresh seed of {record.confirms}" if record.role == "confirm" else "search",
                "size": config.model_size,
                "method": DASH if config.learning_rate is None else method(config),
                "learning_rate": config.learning_rate,
                "batch": config.batch_size,
                "epochs": config.epochs,
                "status": record.status.value,
                "reason": record.reason,
                "f1": best.f1 if best else None,
                "f1_interval": intervals.get(interval_key(record.trial_id, best.precision, best.max_length))
                if best
                else None,
                "usd": best.usd_per_million_predictions if best else None,
                "p95_ms": best.p95_ms if best else None,
                "busy_s": max(usage.core_s, usage.device_s) if measured else None,
                "wall_s": usage.wall_s if measured else None,
                "training_usd": record.training_usd if measured else None,
            }
        )
    return rows


def curve_data(records: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    """Validation F1 and loss over the schedule, for trials with more than one point."""
    return [
        {
            "trial": r.trial_id,
            "size": r.config.model_size,
            "status": r.status.value,
            "fraction": [p.fraction for p in r.curve],
            "f1": [p.f1 if math.isfinite(p.f1) else None for p in r.curve],
            "loss": [p.loss if math.isfinite(p.loss) else None for p in r.curve],
            "train_s": [p.train_s for p in r.curve],
        }
        for r in sorted(records, key=lambda r: trial_order(r.trial_id))
        if len(r.curve) > 1
    ]


def comparison(records: Sequence[TrialRecord], selection: Selection | None) -> list[dict[str, Any]]:
    """Compare the winner with the best and the cheapest point: one row per point, even if one has several roles."""
    naming = Naming(records)
    if selection is None or not selection.front:
        return []
    names: dict[tuple[str, str, int], list[str]] = {}
    points: dict[tuple[str, str, int], FrontPoint] = {}
    best = max(selection.front, key=lambda p: p.f1)
    searched = {_key(p): p for p in [*selection.front, *selection.ladder, *selection.finalists]}
    for name, point in (("Winner", selection.winner), ("Best F1", best), ("Cheapest", selection.front[0])):
        names.setdefault(_key(point), []).append(name)
        points[_key(point)] = searched.get(_key(point), point)
    rows = []
    for key, point in points.items():
        fresh = fresh_f1(selection, point)
        rows.append(
            {
                **point.model_dump(),
                "variant": naming(point),
                "name": " and ".join(names[key]).capitalize().replace("f1", "F1"),
                "f1_interval": interval_of(selection.f1_intervals, point),
                "confirmed": fmean(fresh) if fresh else None,
                "confirmed_interval": next((p.f1_interval for p in selection.judged if _key(p) == key and fresh), None),
                "runs": len(fresh),
            }
        )
    return rows


def _key(point: FrontPoint) -> tuple[str, str, int]:
    return (point.trial_id, point.precision, point.max_length)
