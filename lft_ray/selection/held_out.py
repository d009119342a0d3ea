"""Look at the test split, once, with the winner's checkpoint, through the engine that will serve it.

In: the winner's record and point. Out: the test fields of a `Selection`. Never chooses.
"""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lft_ray.candidates import TaskRecord
from lft_ray.data.store import load_split
from lft_ray.engines.build import build_folder
from lft_ray.engines.bulk import BulkRunner
from lft_ray.records import DatasetRecord, FrontPoint, Record, TrialRecord
from lft_ray.run.storage import Storage

__all__ = ["HeldOutScores", "evaluate_held_out", "predictions_of"]


class HeldOutScores(Record):
    """Scores of the winner on the test split; per-label tables fall back to validation when there is no test split."""

    test_f1: float | None
    test_metrics: dict[str, float]
    test_rows: int
    per_label: list[dict[str, Any]]
    confusion: list[list[int]]


def evaluate_held_out(
    record: TrialRecord, point: FrontPoint, dataset: DatasetRecord, task: TaskRecord
) -> HeldOutScores:
    """Score the checkpoint of ``record`` at the winner's precision and length.

    Args:
        record: the trial whose checkpoint is shipped.
        point: the winner; its precision and length are used.
        dataset: with a test split, or without one.
        task: its metric is ``test_f1``.
    """
    has_test = "test" in dataset.splits
    split = load_split(dataset, "test" if has_test else "validation")
    logits = predictions_of(record.checkpoint_uri, point, split.texts)
    learned = task.make()
    metrics = learned.metrics(split.targets, logits)
    return HeldOutScores(
        test_f1=metrics[task.metric] if has_test else None,
        test_metrics=metrics if has_test else {},
        test_rows=len(split) if has_test else 0,
        per_label=learned.per_label(split.targets, logits),
        confusion=learned.confusion(split.targets, logits),
    )


def predictions_of(uri: str, point: FrontPoint, texts: Sequence[str]) -> NDArray[np.float32]:
    """Logits [n, outputs] through the engine that would serve the checkpoint."""
    source = Storage(uri).local_folder("")
    with tempfile.TemporaryDirectory(prefix="lft-judge-") as scratch:
        built = build_folder(source, Path(scratch) / "served", precision=point.precision, max_length=point.max_length)
        bulk = BulkRunner(built.open(threads=1), workers=os.cpu_count() or 1)
        try:
            return bulk.run(texts)
        finally:
            bulk.close()
