"""One trial in several workers: Ray Train around the same loop. The only file of ``train`` that knows Ray.

In: a `TrialJob` with ``training.workers`` > 1. Out: the `TrialResult` that rank 0 wrote. Called from a Tune trial whose
driver holds no CPU, or from any script. Points of the curve travel through the run folder, where a dead worker's are
not lost; the training state lies there too, so a restarted group goes on where the last state was saved.
"""

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lft_ray.environment import WORKER_ENV
from lft_ray.errors import ConfigError, LftError
from lft_ray.node_types import fleet
from lft_ray.records import TrialResult, now_utc
from lft_ray.storage import Storage
from lft_ray.train.notes import STATE, noted_usage
from lft_ray.train.trial import (
    TrialJob,
    execute,
    failed,
    result_name,
    trial_meter,
    trial_storage,
    try_write_result,
)

if TYPE_CHECKING:
    from ray.train.torch import TorchTrainer

__all__ = ["run_sharded"]

logger = logging.getLogger(__name__)

GROUP_FAILURES = 1
"""Times that a lost worker's group is started again before the attempt counts as failed."""
CONTROLLER_FAILURES = 3
"""Without a limit Ray Train waits for resources that never come forever: a silent livelock."""
POLL_S = 0.5
ENVIRONMENT = {
    # A trial ends when the controller looks: at the default of 2 s that alone is most of a small trial's overhead.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    # One actor and one metrics exporter less for each trial to start.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    # Relative paths of the experiment file must mean the same in a worker.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}
_POINTS = "points.json"


def run_sharded(job: TrialJob, report: Callable[[dict[str, Any]], None]) -> TrialResult:
    """Run a trial in ``job.training.workers`` workers, each with ``job.training.resources``.

    Args:
        job: what to run. Ray must be connected; the run folder must be one that all nodes see.
        report: as for `run_trial`; called in this process, within half a second of the point.

    Returns:
        The result, as for `run_trial`: errors become a failed result.
    """
    started_at = now_utc()
    job = job.model_copy(update={"run_uri": Storage(job.run_uri).uri})
    scratch = trial_storage(job).child(f"sharded-{job.attempt}")
    for earlier in range(1, job.attempt):
        trial_storage(job).delete_folder(f"sharded-{earlier}")
    try:
        _fit(_trainer(job, scratch), scratch, report)
        result = _read_result(job)
    except Exception as error:
        logger.exception("sharded trial %s failed", job.trial_id)
        result = _read_result(job) or _lost(job, f"{type(error).__name__}: {error}", started_at)
    scratch.delete_folder()
    return result or _lost(job, "the workers ended without a result", started_at)


def _trainer(job: TrialJob, scratch: Storage) -> "TorchTrainer":
    import ray.train
    from ray.train.torch import TorchTrainer

    # Typed as Any: the names that ray.train shows to a type checker are those of its first version.
    train: Any = ray.train
    os.environ.update({key: value for key, value in ENVIRONMENT.items() if key not in os.environ})
    gpu = _gpu(job)
    return TorchTrainer(
        _work,
        train_loop_config={"job": job.model_dump_json(), "scratch": scratch.uri},
        scaling_config=train.ScalingConfig(
            num_workers=_workers(job),
            use_gpu=gpu > 0,
            resources_per_worker={"CPU": job.training.resources.cpu} | ({"GPU": gpu} if gpu else {}),
        ),
        run_config=train.RunConfig(
            name="ray-train",
            storage_path=scratch.uri,
            failure_config=train.FailureConfig(
                max_failures=GROUP_FAILURES, controller_failure_limit=CONTROLLER_FAILURES
            ),
            worker_runtime_env={"env_vars": WORKER_ENV},
        ),
    )


def _gpu(job: TrialJob) -> float:
    """GPUs a worker.

    Raises:
        ConfigError: a fraction, which collectives between workers do not allow.
    """
    wish = job.training.resources.gpu
    if wish == "auto":
        return float(any(node.gpus for node in fleet().nodes))
    if wish % 1 and job.training.workers > 1:
        raise ConfigError(
            f"training.resources.gpu is {wish} with {job.training.workers} workers: expected 0 or whole devices",
            fix="--set training.workers=1, or --set training.resources.gpu=1",
        )
    return float(wish)


def _workers(job: TrialJob) -> int:
    from lft_ray.models.base import find_size

    # A linear model is fitted in one process; more would fit the same thing side by side.
    return 1 if find_size(job.models, job.config.model_size)[1].is_linear else job.training.workers


def _fit(trainer: "TorchTrainer", scratch: Storage, report: Callable[[dict[str, Any]], None]) -> None:
    """Run the trainer in a thread, and report points as they come from this one, which is Tune's.

    Raises:
        Exception: whatever ``fit`` raised.
    """
    errors: list[Exception] = []

    def fit() -> None:
        try:
            trainer.fit()
        except Exception as error:
            logger.exception("the workers of a sharded trial failed")
            errors.append(error)

    thread = threading.Thread(target=fit, name="ray-train", daemon=True)
    thread.start()
    reached = -1.0
    while True:
        is_over = not thread.is_alive()
        for point in _points(scratch):
            # A restarted group repeats the points after its last saved state.
            if point["fraction"] > reached:
                reached = point["fraction"]
                report(point)
        if is_over:
            break
        time.sleep(POLL_S)
    if errors:
        raise errors[0]


def _points(scratch: Storage) -> list[dict[str, Any]]:
    try:
        points: list[dict[str, Any]] = json.loads(scratch.get(_POINTS))
    except FileNotFoundError:
        return []
    return points


def _work(config: dict[str, str]) -> None:
    """What each worker runs: the trial, as one of several processes."""
    job, scratch = TrialJob.model_validate_json(config["job"]), Storage(config["scratch"])
    points: list[dict[str, Any]] = []

    def report(point: dict[str, Any]) -> None:
        points.append(point)
        scratch.put(_POINTS, json.dumps(points))

    meter = trial_meter(job, whole_process=True)
    try:
        execute(job, report, meter)
    except LftError as error:
        # All workers meet the same bad input, and so would a second group: this is a result, not a lost worker.
        try_write_result(job, failed(job, str(error), usage=meter.own()))


def _read_result(job: TrialJob) -> TrialResult | None:
    storage = trial_storage(job)
    if not storage.exists(result_name(job.attempt)):
        return None
    return TrialResult.model_validate_json(storage.get(result_name(job.attempt)))


def _lost(job: TrialJob, reason: str, started_at: str) -> TrialResult:
    """The failed result of workers that left none, with the usage they noted while they lived."""
    spent = noted_usage(trial_storage(job).child(STATE))
    result = failed(job, reason, started_at=started_at, usage=spent)
    try_write_result(job, result)
    return result
