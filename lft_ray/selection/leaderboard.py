"""The machine-readable standing of a study. In: records, and the selection once there is one. Out: a JSON-able dict."""

from collections.abc import Mapping, Sequence
from typing import Any

from lft_ray.records import FrontPoint, Selection, TrialConfig, TrialRecord, TrialStatus
from lft_ray.selection.front import front, ladder, points_of

__all__ = ["HOW", "leaderboard"]


HOW = ("method", "teacher", "frozen_layers", "lora_rank", "lora_alpha", "layer_decay")
"""Fields of a configuration that say how it trained."""


def leaderboard(selection: Selection | None, records: Sequence[TrialRecord]) -> dict[str, Any]:
    """Keys ``front`` (non-dominated only), ``ladder``, ``winner`` (null before the decision), ``trials``, ``reason``,
    ``finalists`` (F1 of fresh seeds, loss against the best and its 95% bound), ``verdict`` (proven, within_noise, or
    null before the decision) and ``rows_needed`` (validation rows that would settle it, or null).

    Rows of the front and the ladder say how their trial trained: ``method``, ``teacher`` (empty if not distilled),
    ``frozen_layers``, ``lora_rank``, ``lora_alpha`` and ``layer_decay`` (null where the method has none).
    Works while a search runs: without a selection the front is that of the trials finished so far.
    """
    points = points_of(records)
    configs = {r.trial_id: r.config for r in records}
    search = [r for r in records if r.role == "search"]
    counts: dict[str, int] = {s.value: sum(r.status is s for r in search) for s in TrialStatus}
    return {
        "front": [_row(p, configs) for p in (selection.front if selection else front(points))],
        "ladder": [_row(r, configs) for r in (selection.ladder if selection else ladder(points))],
        "winner": _winner(selection) if selection else None,
        "trials": {**counts, "confirm": len(records) - len(search)},
        "reason": selection.reason if selection else "",
        "finalists": [p.model_dump(mode="json") for p in selection.judged] if selection else [],
        "verdict": selection.verdict if selection else None,
        "rows_needed": selection.rows_needed if selection else None,
    }


def _row(point: FrontPoint, configs: Mapping[str, TrialConfig]) -> dict[str, Any]:
    row = point.model_dump(mode="json")
    config = configs.get(point.trial_id)
    return row if config is None else {**row, **{name: getattr(config, name) for name in HOW}}


def _winner(selection: Selection) -> dict[str, Any]:
    winner = selection.winner
    return {
        "trial_id": winner.trial_id,
        "model_size": winner.model_size,
        "precision": winner.precision,
        "max_length": winner.max_length,
        "f1": winner.f1,
        "test_f1": selection.test_f1,
        "usd_per_million_predictions": winner.usd_per_million_predictions,
    }
