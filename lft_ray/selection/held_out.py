"""Evaluate the winner once on the held-out test split, through the engine that will serve it.

In: the winner's record and point. Out: the test fields of a `Selection`. Never influences the choice.
"""

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
from lft_ray.system.limits import cores

__all__ = ["HeldOutScores", "evaluate_held_out", "predict_logits"]


class HeldOutScores(Record):
    """Scores of the winner on the test split. Without one, the per-label tables are those of validation."""

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
        point: the winner; sets precision and length.
        dataset: prepared data, with or without a test split.
        task: the task; ``test_f1`` is its metric.
    """
    has_test = "test" in dataset.splits
    split = load_split(dataset, "test" if has_test else "validation")
    logits = predict_logits(record.checkpoint_uri, point, split.texts)
    scorer = task.make()
    metrics = scorer.metrics(split.targets, logits)
    return HeldOutScores(
        test_f1=metrics[task.metric] if has_test else None,
        test_metrics=metrics if has_test else {},
        test_rows=len(split) if has_test else 0,
        per_label=scorer.per_label(split.targets, logits),
        confusion=scorer.confusion(split.targets, logits),
    )


def predict_logits(uri: str, point: FrontPoint, texts: Sequence[str]) -> NDArray[np.float32]:
    """Logits of a checkpoint through the engine that would serve it.

    Args:
        uri: folder of the checkpoint.
        point: sets precision and length.
        texts: n texts.

    Returns:
        float32 [n, outputs].
    """
    source = Storage(uri).local_folder("")
    with tempfile.TemporaryDirectory(prefix="lft-held-out-") as scratch:
        built = build_folder(source, Path(scratch) / "served", precision=point.precision, max_length=point.max_length)
        bulk = BulkRunner(built.open(threads=1), workers=cores())
        try:
            return bulk.run(texts)
        finally:
            bulk.close()
