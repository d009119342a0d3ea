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
from lft_ray.errors import InputError
from lft_ray.records import DatasetRecord, FrontPoint, Interval, Record, Selection, TrialRecord
from lft_ray.records.panels import Panel
from lft_ray.run.checksums import check_folder
from lft_ray.run.folder import RunFolder
from lft_ray.run.ledger import Ledger
from lft_ray.run.storage import Storage
from lft_ray.selection.evidence import Evidence, Scorer
from lft_ray.selection.intervals import agreement_sentence
from lft_ray.system.limits import cores
from lft_ray.texts import Text

__all__ = ["HeldOutScores", "evaluate_held_out", "predict_logits", "tested"]


class HeldOutScores(Record):
    """Scores of the winner on the test split. Without one, the tables are those of validation."""

    test_f1: float | None
    test_f1_interval: Interval | None
    test_metrics: dict[str, float]
    test_rows: int
    panels: list[Panel]


def evaluate_held_out(
    record: TrialRecord, point: FrontPoint, dataset: DatasetRecord, task: TaskRecord, *, seed: int = 0
) -> HeldOutScores:
    """Score the checkpoint of ``record`` at the winner's precision and length.

    Args:
        record: the trial whose checkpoint is shipped.
        point: the winner; sets precision and length.
        dataset: prepared data, with or without a test split.
        task: the task; ``test_f1`` is its metric.
        seed: random seed of the interval's bootstrap.
    """
    has_test = "test" in dataset.splits
    split = load_split(dataset, "test" if has_test else "validation")
    logits = predict_logits(record, point, split.texts)
    scorer = task.make()
    metrics = scorer.metrics(split.targets, logits)
    return HeldOutScores(
        test_f1=metrics[task.metric] if has_test else None,
        test_f1_interval=_interval(Scorer(scorer, task.metric), split.targets, logits, seed) if has_test else None,
        test_metrics=metrics if has_test else {},
        test_rows=len(split) if has_test else 0,
        panels=scorer.panels(np.asarray(split.targets), scorer.answers(logits)),
    )


def _held_out_of(selection: Selection | None, chosen: Selection) -> HeldOutScores | None:
    """Scores of an earlier selection, if it evaluated the very checkpoint and variant that are ``chosen`` now.

    Selecting again, as a resume does, must not look at the test split a second time.
    """
    # Tables alone do not tell: a task may have none.
    if selection is None or not (selection.panels or selection.test_rows):
        return None
    ours, theirs = (
        (s.winner_seed_trial_id, s.winner.precision, s.winner.max_length, s.checkpoint_f1) for s in (selection, chosen)
    )
    return HeldOutScores(**selection.model_dump(include=set(HeldOutScores.model_fields))) if ours == theirs else None


def _interval(scorer: Scorer, targets: NDArray[Any], logits: NDArray[np.float32], seed: int) -> Interval | None:
    """Interval of a test score; None if the task's weighted metric is not its metric."""
    key, answers = ("", "", 0), scorer.task.answers(logits)
    if not scorer.can_weigh(targets, answers):
        return None
    evidence = Evidence(scorer, np.asarray(targets), {key: answers}, seed)
    f1 = scorer.task.metrics(targets, logits)[scorer.metric]
    return evidence.intervals([key])[0] if evidence.reproduces([key], [f1]) else None


def tested(
    run: RunFolder, chosen: Selection, ledger: Ledger, dataset: DatasetRecord, task: TaskRecord, *, seed: int
) -> Selection:
    """The selection with its one evaluation on the test split, which is not repeated where it has been done.

    Args:
        run: the run folder, perhaps with an earlier selection.
        chosen: the decision.
        ledger: the trials.
        dataset: prepared data, with or without a test split.
        task: the task.
        seed: random seed of the interval's bootstrap.
    """
    shipped = ledger.ended(chosen.winner_seed_trial_id)
    scores = _held_out_of(_earlier(run), chosen) or evaluate_held_out(shipped, chosen.winner, dataset, task, seed=seed)
    selection = chosen.replace(**{name: getattr(scores, name) for name in type(scores).model_fields})
    remarks = [agreement_sentence(selection, task.metric_name), *selection.remarks]
    return selection.replace(remarks=[remark for remark in remarks if remark])


def _earlier(run: RunFolder) -> Selection | None:
    """The selection of an earlier call; None if there is none, or if it is damaged: it is about to be rewritten."""
    try:
        return run.selection()
    except InputError:
        return None


def predict_logits(record: TrialRecord, point: FrontPoint, texts: Sequence[Text]) -> NDArray[np.float32]:
    """Logits of a trial's checkpoint through the engine that would serve it.

    Args:
        record: the trial.
        point: sets precision and length.
        texts: n texts, or pairs of texts.

    Returns:
        float32 [n, outputs].

    Raises:
        DamagedFileError: the checkpoint is missing, or not the one that the trial wrote.
    """
    check_folder(record.checkpoint_uri, record.checkpoint_sha256)
    with (
        Storage(record.checkpoint_uri).local_copy() as source,
        tempfile.TemporaryDirectory(prefix="lft-held-out-") as scratch,
    ):
        built = build_folder(source, Path(scratch) / "served", precision=point.precision, max_length=point.max_length)
        bulk = BulkRunner(built.open(threads=1), workers=cores())
        try:
            return bulk.run(texts)
        finally:
            bulk.close()
