"""Look at the test split, once, with the winner's checkpoint, through the engine that will serve it.

In: the winner's record and point. Out: the test fields of a `Selection`. Never chooses.
"""

import os
from typing import Any

from lft_ray.data.store import load_split
from lft_ray.engines import ENGINES
from lft_ray.engines.base import Runner
from lft_ray.engines.batching import run_sorted
from lft_ray.models.card import EngineCard
from lft_ray.plugins import resolve
from lft_ray.records import DatasetRecord, FrontPoint, Record, TrialRecord
from lft_ray.storage import Storage
from lft_ray.tasks import TASKS

__all__ = ["Judgement", "judge", "open_checkpoint"]


class Judgement(Record):
    """Scores of the winner on the test split; per-label tables fall back to validation when there is no test split."""

    test_f1: float | None
    test_metrics: dict[str, float]
    test_rows: int
    per_label: list[dict[str, Any]]
    confusion: list[list[int]]


def judge(record: TrialRecord, point: FrontPoint, dataset: DatasetRecord, *, metric: str) -> Judgement:
    """Score the checkpoint of ``record`` at the winner's precision and length.

    Args:
        record: the trial whose checkpoint is shipped.
        point: the winner; its precision and length are used.
        dataset: with a test split, or without one.
        metric: key of the task's metrics that is ``test_f1``.
    """
    has_test = "test" in dataset.splits
    split = load_split(dataset, "test" if has_test else "validation")
    logits = run_sorted(open_checkpoint(record.checkpoint_uri, point), split.texts)
    task = resolve(dataset.task_kind, TASKS, where="task.kind")(dataset.labels)
    metrics = task.metrics(split.targets, logits)
    return Judgement(
        test_f1=metrics[metric] if has_test else None,
        test_metrics=metrics if has_test else {},
        test_rows=len(split) if has_test else 0,
        per_label=task.per_label(split.targets, logits),
        confusion=task.confusion(split.targets, logits),
    )


def open_checkpoint(uri: str, point: FrontPoint) -> Runner:
    """Open a trial's checkpoint at a point's precision and length."""
    folder = Storage(uri).local_folder("")
    engine = resolve(EngineCard.read(folder).engine, ENGINES, where="engine.json")
    runner: Runner = engine.open(
        folder, precision=point.precision, threads=os.cpu_count() or 1, max_length=point.max_length
    )
    return runner
