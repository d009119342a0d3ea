"""Workers of Ray Train that outlive trials. In: jobs, one after another. Out: their points and how they ended.

A gang belongs to the process that asks for it: the driver of a Tune trial, which takes the next trial too, or any
script. So there are as many gangs as trials run at a time, and a gang ends with its process. Starting one costs 25-50
processor seconds (controller, workers, torch in each); a job on one that is up starts within milliseconds.
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
from lft_ray.train.device.usage_notes import HELD, WORKER_GROUPS
from lft_ray.train.distributed.mailbox import JobStatus, Mailbox
from lft_ray.train.distributed.placement_groups import mailbox_name, sweep
from lft_ray.train.distributed.worker import work
from lft_ray.train.job import TrialJob

if TYPE_CHECKING:
    from ray.train.torch import TorchTrainer

__all__ = ["GroupShape", "ShutDownError", "WorkerGroup", "shut_down", "worker_group_for"]

logger = logging.getLogger(__name__)

LOST_WORKERS = 20
"""Times in a gang's life that a dead worker's group is started again. Each job bounds its own (`mailbox.STARTS`); this
is for workers that die before they ask for one, which nobody else would notice."""
CONTROLLER_FAILURES = 3
"""Without a limit Ray Train waits for resources that never come forever: a silent livelock."""
NEWS_S = 0.5
LEAVE_S = 30.0
ENVIRONMENT = {
    # How soon a dead worker is noticed, at the default of 2 s.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    # One actor and one metrics exporter less to start.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    # Relative paths of the experiment file must mean the same in a worker.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}


class ShutDownError(Exception):
    """The gang was sent home in the middle of a job, whose state is saved: its study ends."""


@dataclass(frozen=True, slots=True)
class GroupShape:
    """What a gang holds; a job runs on a gang of its shape.

    Attributes:
        workers: of the gang.
        cpu: cores of each.
        gpu: devices of each.
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
        """Start the workers; returns at once. Ray must be connected, and all nodes see the run folder."""
        import ray

        here = pinned_to(ray.get_runtime_context().get_node_id())
        actor: Any = ray.remote(Mailbox)
        sweep(run)
        worker_group = uuid.uuid4().hex[:12]
        options = {
            "name": mailbox_name(worker_group),
            "num_cpus": 0,
            "max_concurrency": 1000,
            "scheduling_strategy": here,
        }
        mailbox = actor.options(**options).remote(shape.workers, owner=_this_actor())
        folder = run.child(WORKER_GROUPS, worker_group)
        folder.put(HELD, "")
        errors: list[Exception] = []
        trainer = _trainer(shape, mailbox, folder)
        thread = threading.Thread(target=_fit, args=(trainer, errors), name="lft-gang", daemon=True)
        thread.start()
        return cls(shape, mailbox, folder, thread, errors)

    @property
    def is_up(self) -> bool:
        """Whether its workers run or are being started."""
        return self._thread.is_alive()

    def run(self, job: TrialJob, report: Callable[[dict[str, Any]], None]) -> str | None:
        """Run a job to its end.

        Args:
            job: what to run; its result lies in the run folder afterwards.
            report: called in this thread. What it raises cancels the job, and is raised.

        Returns:
            What went wrong, empty if nothing; None where the workers had gone home before the job came.

        Raises:
            ShutDownError: its study ended before.
        """
        import ray

        number = ray.get(self._mailbox.post.remote(job.model_dump_json()))
        if number is None:
            return None
        seen, is_last = 0, False
        try:
            while True:
                news = JobStatus(*ray.get(self._mailbox.news.remote(number, seen, NEWS_S)))
                seen += len(news.points)
                for point in news.points:
                    report(point)
                if news.is_closed:
                    raise ShutDownError
                if news.is_over:
                    return news.error
                if is_last:
                    return self._end_reason()
                is_last = not self.is_up
        except BaseException:
            self._mailbox.cancel.remote(number)
            raise

    def shut_down(self) -> None:
        """Send the workers home and wait for that; what is left of them after half a minute dies with this process."""
        import ray

        # A handle of a connection to Ray that was closed since cannot be called: then nothing is left to send home.
        with suppress(Exception):
            self._mailbox.close.remote()
            self._thread.join(LEAVE_S)
            ray.kill(self._mailbox)
        self._folder.delete_folder()

    def _end_reason(self) -> str:
        error = self._errors[0] if self._errors else None
        return f"{type(error).__name__}: {error}" if error else "the workers went home in the middle of the trial"


_OURS: list[WorkerGroup] = []
"""The gang of this process, if it has one."""


def worker_group_for(shape: GroupShape, run: Storage) -> WorkerGroup:
    """This process's gang, started if there is none of that shape; one of another shape is sent home first.

    Args:
        shape: of the gang.
        run: where Ray Train keeps what it writes for a gang that is started.
    """
    if _OURS and (_OURS[0].shape != shape or not _OURS[0].is_up):
        shut_down()
    if not _OURS:
        _OURS.append(WorkerGroup.start(shape, run))
    return _OURS[0]


def shut_down() -> None:
    """Send this process's gang home, if it has one."""
    while _OURS:
        _OURS.pop().shut_down()


def _this_actor() -> Any:
    """The handle of the actor that runs this; None in a driver."""
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

    # Typed as Any: the names that ray.train shows to a type checker are those of its first version.
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
            failure_config=train.FailureConfig(max_failures=LOST_WORKERS, controller_failure_limit=CONTROLLER_FAILURES),
            worker_runtime_env={"env_vars": WORKER_ENV},
        ),
    )
