"""One configuration without a cluster: ``lft train``. In: an experiment. Out: a record in the ledger.

Its serving cost stays unknown: profiles are measured by a search.
"""

from lft_ray.config import Experiment
from lft_ray.cost.prices import price_of
from lft_ray.cost.training import training_usd
from lft_ray.errors import ModelError, nearest
from lft_ray.ledger import Ledger, StartedTrial
from lft_ray.models.base import ModelSize, model_sizes
from lft_ray.records import DatasetRecord, TrialRecord, TrialResult, now_utc
from lft_ray.search.space import start_table
from lft_ray.train.job import TrialJob
from lft_ray.train.trial import run_trial

__all__ = ["train_one"]


def train_one(experiment: Experiment, dataset: DatasetRecord, ledger: Ledger, *, size: str | None) -> TrialRecord:
    """Train the default configuration of a size in this process.

    Args:
        experiment: single values of ``training`` are used as they are, lists and ranges by their defaults.
        dataset: prepared.
        ledger: the trial gets its next id.
        size: a model size of the experiment; None: the largest.

    Raises:
        ModelError: the experiment has no such size.
    """
    config = start_table([_chosen(experiment, size)], experiment.training, seed=experiment.search.seed)[0]
    trial_id = ledger.next_id()
    ledger.start(
        StartedTrial(trial_id=trial_id, number=len(ledger.started()), config=config, started_at=now_utc(), start=True)
    )
    job = TrialJob.of(
        experiment,
        dataset,
        ledger.storage.uri,
        trial_id=trial_id,
        config=config,
        max_lengths=experiment.max_lengths,
    )
    result = run_trial(job, lambda _: None)
    record = TrialRecord(
        **{name: getattr(result, name) for name in TrialResult.model_fields},
        start=True,
        training_usd=training_usd(result.usage, price_of(experiment.cost)),
    )
    ledger.put(record)
    return record


def _chosen(experiment: Experiment, name: str | None) -> ModelSize:
    sizes = {size.name: size for size in model_sizes(experiment.models)}
    if name is None:
        return list(sizes.values())[-1]
    if name not in sizes:
        raise ModelError(f"no model size {name!r} here: expected one of {', '.join(sizes)}.{nearest(name, sizes)}")
    return sizes[name]
