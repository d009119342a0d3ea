"""The leaderboard of a study for scripts. In: trial records, the selection if there is one. Out: a JSON-able dict."""

from collections.abc import Mapping, Sequence
from typing import Any

from lft_ray.records import (
    Cascade,
    FrontPoint,
    LadderRow,
    Selection,
    SizeCoverage,
    SizeOutcome,
    TrialConfig,
    TrialRecord,
    TrialStatus,
)
from lft_ray.selection.coverage import confirmation_count, untried
from lft_ray.selection.front import front, ladder, points_of

__all__ = ["TRAINING_FIELDS", "cascade_point", "leaderboard"]


TRAINING_FIELDS = ("method", "teacher", "frozen_layers", "lora_rank", "lora_alpha", "layer_decay", "class_weights")
"""Fields of a trial configuration that describe the training method."""


def cascade_point(cascade: Cascade) -> FrontPoint:
    """A cascade as a point of the front. Its p95 latency is not measured."""
    small, large = cascade.small, cascade.large
    return FrontPoint(
        trial_id=cascade.pair,
        model_size=f"{small.model_size} > {large.model_size}",
        precision=small.precision if small.precision == large.precision else f"{small.precision} > {large.precision}",
        max_length=max(small.max_length, large.max_length),
        f1=cascade.f1,
        usd_per_million_predictions=cascade.usd_per_million_predictions,
    )


def leaderboard(
    selection: Selection | None,
    records: Sequence[TrialRecord],
    cascades: Sequence[Cascade] = (),
    coverage: Sequence[SizeCoverage] = (),
) -> dict[str, Any]:
    """The leaderboard. While a search runs (no selection yet) the front is that of the trials finished so far.

    Args:
        selection: the selection of the study; None before the decision.
        records: all trial records.
        cascades: measured cascades of the run.
        coverage: what became of each model size; empty: that of the selection.

    Returns:
        Keys ``front`` (Pareto-optimal points only), ``ladder``, ``winner`` (null before the decision), ``trials``
        (counts; ``confirm`` counts the confirmation runs that finished, ``confirm_failed`` and ``confirm_stopped`` the
        others), ``reason``, ``remarks`` (further sentences that belong to it), ``finalists`` (F1 of confirmation runs,
        loss against the best and its 95% bound), ``verdict`` (a `VerdictKind`, or null before the decision),
        ``compared_with`` (what the verdict is about, with the interval of each difference), ``not_compared``,
        ``rows_needed`` (validation rows that would settle it, or null), ``validation_rows``, ``coverage`` (trials by
        status and cause of each size) and ``precision_checks`` (of reduced-precision points that would have won:
        agreement with fp32, F1 loss and its bound, ``passed``).

        Rows of ``front`` have a ``kind``: ``trial``, or ``cascade`` for a pair of trials (with ``share``, ``threshold``
        and ``test_f1``). Rows of ``front`` and ``ladder`` describe the training of their trial: ``method``, ``teacher``
        (empty if not distilled), ``frozen_layers``, ``lora_rank``, ``lora_alpha``, ``layer_decay`` and
        ``class_weights`` (null where the method has none, or all trials the same).
        ``f1_interval`` is the two-sided 95% interval of ``f1``, or null.

        ``ladder`` has a row for every model size. A row of a size of which no trial finished has an ``outcome`` other
        than ``finished``, the ``reason``, no ``trial_id`` and a null ``f1``.
    """
    points = points_of(records)
    configs = {r.trial_id: r.config for r in records}
    search = [r for r in records if r.role == "search"]
    counts: dict[str, int] = {s.value: sum(r.status is s for r in search) for s in TrialStatus}
    coverage = coverage or (selection.coverage if selection else ())
    confirmations = confirmation_count(records)
    rows = selection.ladder if selection else ladder(points)
    return {
        "front": _front(selection.front if selection else front(points), cascades, configs),
        "ladder": [*(_ladder_row(row, configs) for row in rows), *_untried(rows, coverage)],
        "winner": _winner(selection) if selection else None,
        "trials": {
            **counts,
            "confirm": confirmations.done,
            "confirm_failed": confirmations.failed,
            "confirm_stopped": confirmations.stopped,
        },
        "reason": selection.reason if selection else "",
        "finalists": [p.model_dump(mode="json") for p in selection.judged] if selection else [],
        "verdict": selection.verdict.value if selection else None,
        "rows_needed": selection.rows_needed if selection else None,
        "precision_checks": [c.model_dump(mode="json") for c in selection.precision_checks] if selection else [],
        "remarks": list(selection.remarks) if selection else [],
        "compared_with": [c.model_dump(mode="json") for c in selection.compared_with] if selection else [],
        "not_compared": [n.model_dump(mode="json") for n in selection.not_compared] if selection else [],
        "validation_rows": selection.validation_rows if selection else 0,
        "coverage": [row.model_dump(mode="json") for row in coverage],
    }


def _ladder_row(row: LadderRow, configs: Mapping[str, TrialConfig]) -> dict[str, Any]:
    return {**_row(row, configs), "outcome": SizeOutcome.FINISHED.value, "reason": ""}


def _untried(rows: Sequence[LadderRow], coverage: Sequence[SizeCoverage]) -> list[dict[str, Any]]:
    """Rows of the sizes that are missing on the ladder, with the keys of the others."""
    shown = {row.model_size for row in rows}
    empty: dict[str, Any] = dict.fromkeys([*LadderRow.model_fields, *TRAINING_FIELDS])
    return [
        {
            **empty,
            "trial_id": "",
            "model_size": row.model_size,
            "usd_per_million_predictions": row.usd_per_million_predictions,
            "on_front": False,
            "dominated_by": "",
            "outcome": row.outcome.value,
            "reason": row.reason,
        }
        for row in untried(coverage)
        if row.model_size not in shown
    ]


def _front(
    points: Sequence[FrontPoint], cascades: Sequence[Cascade], configs: Mapping[str, TrialConfig]
) -> list[dict[str, Any]]:
    pairs = {cascade.pair: cascade for cascade in cascades}
    return [
        _pair(point, pairs[point.trial_id]) if point.trial_id in pairs else {"kind": "trial", **_row(point, configs)}
        for point in front([*points, *map(cascade_point, pairs.values())])
    ]


def _pair(point: FrontPoint, cascade: Cascade) -> dict[str, Any]:
    extra = {"share": cascade.share, "threshold": cascade.threshold, "test_f1": cascade.test_f1}
    return {"kind": "cascade", **point.model_dump(mode="json"), "method": "cascade", "teacher": "", **extra}


def _row(point: FrontPoint, configs: Mapping[str, TrialConfig]) -> dict[str, Any]:
    row = point.model_dump(mode="json")
    config = configs.get(point.trial_id)
    return row if config is None else {**row, **{name: getattr(config, name) for name in TRAINING_FIELDS}}


def _winner(selection: Selection) -> dict[str, Any]:
    winner = selection.winner
    return {
        "trial_id": winner.trial_id,
        "model_size": winner.model_size,
        "precision": winner.precision,
        "max_length": winner.max_length,
        "f1": winner.f1,
        "f1_interval": winner.f1_interval and list(winner.f1_interval),
        "checkpoint": selection.winner_seed_trial_id,
        "checkpoint_f1": selection.checkpoint_f1,
        "checkpoint_f1_interval": selection.checkpoint_f1_interval and list(selection.checkpoint_f1_interval),
        "test_f1": selection.test_f1,
        "test_f1_interval": selection.test_f1_interval and list(selection.test_f1_interval),
        "test_rows": selection.test_rows,
        "usd_per_million_predictions": winner.usd_per_million_predictions,
    }
