"""Ray Train workers that stay up between trials. In: jobs, one after another. Out: their curve points and outcome.

A worker group belongs to the process that starts it: the driver of a Tune trial, which also runs the next trial, or any
script. There are thus as many groups as concurrent trials, and a group ends with its process. Starting one costs 25-50
CPU seconds (controller, workers, torch in each); a job on a running group starts within milliseconds. Never runs two
jobs at once.
"""

import logging
import os
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lft_ray.cluster.environment import WORKER_ENV
from lft_ray.cluster.nodes import pinned_to
from lft_ray.run.storage import Storage
from lft_ray.train.device.usage_notes import PLACEMENT_GROUP_FILE, WORKER_GROUPS
from lft_ray.train.distributed.mailbox import JobStatus, Mailbox
from lft_ray.train.distributed.placement_groups import free_orphans, mailbox_name
from lft_ray.train.distributed.worker import work
from lft_ray.train.job import TrialJob

if TYPE_CHECKING:
    from ray.train.torch import TorchTrainer

__all__ = ["GroupShape", "ShutDownError", "WorkerGroup", "shut_down", "worker_group_for"]

logger = logging.getLogger(__name__)

MAX_WORKER_FAILURES = 20
"""How often Ray Train restarts a group over its life. Restarts during a job are limited by `mailbox.MAX_STARTS`; this
limit is for workers that die before they fetch a job, which nothing else would detect."""
MAX_CONTROLLER_FAILURES = 3
"""Without a limit, Ray Train waits forever, and silently, for resources that never become available."""
STATUS_WAIT_S = 0.5
SHUTDOWN_TIMEOUT_S = 30.0
ENVIRONMENT = {
    # How soon a dead worker is noticed; the default is 2 s.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    # Each of the two saves starting something: an actor, and a metrics exporter.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    # Relative paths in the experiment file must resolve the same way in a worker.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}


class ShutDownError(Exception):
    """The worker group was shut down during a job because its study is ending; the job's state is saved."""


@dataclass(frozen=True, slots=True)
class GroupShape:
    """Size of a worker group; a job needs a group of exactly its shape.

    Attributes:
        workers: number of workers.
        cpu: CPU cores per worker.
        gpu: GPUs per worker.
    """

    workers: int
    cpu: float
    gpu: float


@dataclass(slots=True)
class WorkerGroup:
    """A running group of workers; made by `worker_group_for`."""

    shape: GroupShape
    _mailbox: Any
    _folder: Storage
    _thread: threading.Thread
    _errors: list[Exception] = field(default_factory=list)

    @classmethod
    def start(cls, shape: GroupShape, run: Storage) -> "WorkerGroup":
        """Start the workers without waiting for them. Ray must be connected; all nodes must access the run folder."""
        import ray

        here = pinned_to(ray.get_runtime_context().get_node_id())
        actor: Any = ray.remote(Mailbox)
        free_orphans(run)
        worker_group = uuid.uuid4().hex[:12]
        options = {
            "name": mailbox_name(worker_group),
            "num_cpus": 0,
            "max_concurrency": 1000,
            "scheduling_strategy": here,
        }
        mailbox = actor.options(**options).remote(shape.workers, owner=_this_actor())
        folder = run.child(WORKER_GROUPS, worker_group)
        folder.put(PLACEMENT_GROUP_FILE, "")
        errors: list[Exception] = []
        trainer = _trainer(shape, mailbox, folder)
        thread = threading.Thread(target=_fit, args=(trainer, errors), name="lft-worker-group", daemon=True)
        thread.start()
        return cls(shape, mailbox, folder, thread, errors)

    @property
    def is_up(self) -> bool:
        """Whether the workers are running or being started."""
        return self._thread.is_alive()

    def run(self, job: TrialJob, report: Callable[[dict[str, Any]], None]) -> str | None:
        """Run a job to its end.

        Args:
            job: the trial to run; its result is in the run folder afterwards.
            report: called with each curve point, in this thread. An exception it raises cancels the job and propagates.

        Returns:
            The error, empty if there was none; None if the workers had already shut down when the job was posted.

        Raises:
            ShutDownError: the study is ending.
        """
        import ray

        number = ray.get(self._mailbox.post.remote(job.model_dump_json()))
        if number is None:
            return None
        seen, is_last = 0, False
        try:
            while True:
                status = JobStatus(*ray.get(self._mailbox.job_status.remote(number, seen, STATUS_WAIT_S)))
                seen += len(status.points)
                for point in status.points:
                    report(point)
                if status.is_closed:
                    raise ShutDownError
                if status.is_over:
                    return status.error
                if is_last:
                    return self._end_reason()
                # One more query of the mailbox after the workers are gone: the end may have arrived just before.
                is_last = not self.is_up
        except BaseException:
            self._mailbox.cancel.remote(number)
            raise

    def shut_down(self) -> None:
        """Shut the workers down and wait up to half a minute; any that remain end with this process."""
        import ray

        # Calling a handle from a Ray connection that has since been closed fails; then there are no workers left.
        with suppress(Exception):
            self._mailbox.close.remote()
            self._thread.join(SHUTDOWN_TIMEOUT_S)
            ray.kill(self._mailbox)
        self._folder.delete_folder()

    def _end_reason(self) -> str:
        error = self._errors[0] if self._errors else None
        return f"{type(error).__name__}: {error}" if error else "the workers shut down in the middle of the trial"


_CURRENT: list[WorkerGroup] = []
"""The worker group of this process: a list of one, or empty."""


def worker_group_for(shape: GroupShape, run: Storage) -> WorkerGroup:
    """This process's worker group, started if needed; a worker group of another shape is shut down first.

    Args:
        shape: required shape of the group.
        run: run folder, where Ray Train stores the files of a newly started group.
    """
    if _CURRENT and (_CURRENT[0].shape != shape or not _CURRENT[0].is_up):
        shut_down()
    if not _CURRENT:
        _CURRENT.append(WorkerGroup.start(shape, run))
    return _CURRENT[0]


def shut_down() -> None:
    """Shut down this process's worker group, if it has one."""
    while _CURRENT:
        _CURRENT.pop().shut_down()


def _this_actor() -> Any:
    """Handle of the actor that runs this process; None in a driver."""
    import ray

    context = ray.get_runtime_context()
    return context.current_actor if context.get_actor_id() else None


def _fit(trainer: "TorchTrainer", errors: list[Exception]) -> None:
    try:
        trainer.fit()
    except Exception as error:
        logger.exception("the workers of sharded trials failed")
        errors.append(error)


def _trainer(shape: GroupShape, mailbox: Any, folder: Storage) -> "TorchTrainer":
    import ray.train
    from ray.train.torch import TorchTrainer

    # Typed as Any: to a type checker, ray.train exports the names of its first version.
    train: Any = ray.train
    os.environ.update({key: value for key, value in ENVIRONMENT.items() if key not in os.environ})
    return TorchTrainer(
        work,
        train_loop_config={"mailbox": mailbox, "folder": folder.uri},
        scaling_config=train.ScalingConfig(
            num_workers=shape.workers,
            use_gpu=shape.gpu > 0,
            resources_per_worker={"CPU": shape.cpu} | ({"GPU": shape.gpu} if shape.gpu else {}),
        ),
        run_config=train.RunConfig(
            name="ray-train",
            storage_path=folder.uri,
            failure_config=train.FailureConfig(
                max_failures=MAX_WORKER_FAILURES, controller_failure_limit=MAX_CONTROLLER_FAILURES
            ),
            worker_runtime_env={"env_vars": WORKER_ENV},
        ),
    )
