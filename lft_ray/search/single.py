"""Train one configuration without a cluster (``lft train``). In: candidates. Out: a record in the ledger.

The serving cost stays unknown: only a search measures serving profiles.
"""

from typing import Any

from lft_ray.candidates import Candidates
from lft_ray.config import TrainingSpec
from lft_ray.cost.dollars import training_usd
from lft_ray.records import CurvePoint, DatasetRecord, TrialRecord, TrialResult, now_utc
from lft_ray.run.ledger import Ledger, StartedTrial
from lft_ray.search.space import start_table
from lft_ray.train.job import TrialJob
from lft_ray.train.trial import run_trial

__all__ = ["train_one"]


def train_one(
    candidates: Candidates,
    dataset: DatasetRecord,
    ledger: Ledger,
    training: TrainingSpec,
    *,
    size: str | None,
    seed: int = 0,
) -> TrialRecord:
    """Train the default configuration of a model size in this process.

    Args:
        candidates: model sizes that may be trained.
        dataset: prepared dataset.
        ledger: ledger of the run; assigns the trial ID.
        training: single values are used as given; lists and ranges are replaced by their default.
        size: name of a model size of the experiment; None: the largest.
        seed: random seed of the training run.

    Raises:
        ModelError: the experiment has no such model size.
    """
    chosen = candidates.sizes[-1] if size is None else candidates.size(size)
    config = start_table([chosen], training, seed=seed)[0]
    trial_id = ledger.next_id()
    ledger.start(
        StartedTrial(trial_id=trial_id, number=len(ledger.started()), config=config, started_at=now_utc(), start=True)
    )
    job = TrialJob.of(candidates, dataset, training, ledger.storage.uri)
    lengths = list(dict.fromkeys(variant.max_length for variant in candidates.variants[chosen.name]))
    job = job.replace(trial_id=trial_id, config=config, max_lengths=lengths)
    curve: list[CurvePoint] = []

    def note(point: dict[str, Any]) -> None:
        curve.append(CurvePoint.model_validate(point))
        ledger.note_curve(trial_id, curve)

    result = run_trial(job, note)
    record = TrialRecord(
        **{name: getattr(result, name) for name in TrialResult.model_fields},
        start=True,
        training_usd=training_usd(result.usage, candidates.price),
    )
    ledger.put(record)
    return record
