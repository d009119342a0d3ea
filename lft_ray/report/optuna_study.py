"""Export the trials of a run as an Optuna study in a database, for optuna-dashboard.

In: records. Out: a study in an Optuna storage. It is a copy, rewritten on each export; the ledger remains the source of
truth. Never reads the study back.
"""

import warnings
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from lft_ray.errors import InputError, UnreachableError
from lft_ray.records import ScoredVariant, TrialRecord, TrialStatus
from lft_ray.run.ledger import trial_order

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

__all__ = ["METRICS", "write_study"]

METRICS = ("usd_per_million_predictions", "f1")
"""Names of the two objectives: the first is minimised, the second maximised."""
# Hyperparameters that the dashboard shows: the searched fields of a TrialConfig.
_PARAMS = (
    "model_size", "method", "frozen_layers", "lora_rank", "lora_alpha", "layer_decay", "class_weights",
    "learning_rate", "batch_size", "epochs", "max_length",
)  # fmt: skip


def write_study(name: str, metric: str, records: Sequence[TrialRecord], url: str) -> int:
    """Write the trials of a run as a study of the same name, replacing an existing one.

    The values of a trial are those of its cheapest variant. Stopped trials become PRUNED, failed and infeasible ones
    FAIL, without values. Learning curves are omitted: Optuna has no intermediate values in a multi-objective study.

    Args:
        name: name of the run and of the study.
        metric: metric of the second objective.
        records: records of all ended trials, including fresh-seed runs.
        url: SQLAlchemy URL of the database, such as ``sqlite:///news.db``.

    Returns:
        Number of trials written.

    Raises:
        InputError: the URL is invalid, or its driver is not installed.
        UnreachableError: the database cannot be reached or written.
    """
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return _write(name, metric, records, _storage(url))
    except (optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
        raise UnreachableError(f"cannot write the study to {url}: {error}") from error
    finally:
        optuna.logging.set_verbosity(verbosity)


def _storage(url: str) -> "BaseStorage":
    import optuna
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError

    fix = "for example sqlite:///file.db (three slashes for a relative path, four for an absolute one)"
    try:
        return optuna.storages.RDBStorage(url)
    except (ArgumentError, NoSuchModuleError, ImportError, ValueError) as error:
        raise InputError(f"--study {url!r} is not a valid database URL: {error}", fix=fix) from error
    except OperationalError as error:
        raise InputError(f"--study {url!r} cannot be opened: {error.orig}", fix=fix) from error


def _write(name: str, metric: str, records: Sequence[TrialRecord], storage: "BaseStorage") -> int:
    import optuna

    names = [study.study_name for study in optuna.get_all_study_summaries(storage)]
    if name in names:
        optuna.delete_study(study_name=name, storage=storage)
    study = optuna.create_study(
        study_name=name, storage=storage, directions=["minimize", "maximize"], load_if_exists=False
    )
    study.set_metric_names(list(METRICS))
    study.set_user_attr("metric", metric)
    distributions = _distributions(records)
    ordered = sorted(records, key=lambda record: (record.role != "search", trial_order(record.trial_id)))
    trials = [_trial(record, distributions) for record in ordered]
    study.add_trials(trials)
    return len(trials)


def _distributions(records: Sequence[TrialRecord]) -> dict[str, Any]:
    """One distribution per hyperparameter: categories of the observed values; a range for the learning rate."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    found: dict[str, Any] = {}
    for name in _PARAMS:
        values = list(dict.fromkeys(v for r in records if (v := getattr(r.config, name)) is not None))
        if not values:
            continue
        if name == "learning_rate":
            found[name] = FloatDistribution(min(values), max(values), log=True)
        else:
            found[name] = CategoricalDistribution(values if isinstance(values[0], str) else sorted(values))
    return found


def _trial(record: TrialRecord, distributions: dict[str, Any]) -> "FrozenTrial":
    from optuna.trial import FrozenTrial, TrialState

    params = {name: value for name in distributions if (value := getattr(record.config, name)) is not None}
    cheapest = _cheapest(record)
    state = {TrialStatus.DONE: TrialState.COMPLETE, TrialStatus.STOPPED: TrialState.PRUNED}.get(
        record.status, TrialState.FAIL
    )
    if state is TrialState.COMPLETE and cheapest is None:
        # A completed trial of `lft train`: without a serving cost it has no values for both objectives.
        state = TrialState.FAIL
    values = None
    if state is TrialState.COMPLETE and cheapest is not None and cheapest.usd_per_million_predictions is not None:
        values = [cheapest.usd_per_million_predictions, cheapest.f1]
    started, ended = _moment(record.started_at), _moment(record.finished_at)
    return FrozenTrial(
        number=-1,
        trial_id=-1,
        state=state,
        value=None,
        values=values,
        datetime_start=started or ended,
        datetime_complete=ended,
        params=params,
        distributions={name: distributions[name] for name in params},
        user_attrs=_attrs(record, cheapest),
        system_attrs={},
        intermediate_values={},
    )


def _attrs(record: TrialRecord, cheapest: ScoredVariant | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "trial_id": record.trial_id,
        "seed": record.config.seed,
        "status": record.status.value,
        "training_usd": record.training_usd,
        "role": record.role,
    }
    optional = {
        "reason": record.reason or None,
        "confirms": record.confirms or None,
        "precision": cheapest.precision if cheapest else None,
        "p95_ms": cheapest.p95_ms if cheapest else None,
    }
    return found | {name: value for name, value in optional.items() if value is not None}


def _cheapest(record: TrialRecord) -> ScoredVariant | None:
    priced = [v for v in record.variants if v.usd_per_million_predictions is not None]
    return min(priced, key=lambda v: v.usd_per_million_predictions or 0.0, default=None)


def _moment(text: str) -> datetime | None:
    """Convert the UTC time of a record to local time without a time zone, as Optuna stores it."""
    return datetime.fromisoformat(text).astimezone().replace(tzinfo=None) if text else None
