"""Run a dispatcher's trials with Ray Tune. The only place that assembles a `Tuner`.

In: a connected cluster, a dispatcher, the function that runs a trial. Out: records in the ledger. Also catches SIGINT
and SIGTERM, so that a study stops between two steps, and raises errors that Tune would swallow (`StudyCallback`).
Tune's own folder is temporary and is never read: no `Tuner.restore`, no pickles.
"""

import logging
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from ray.tune import Callback

from lft_ray.cluster.connect import ClusterHandle
from lft_ray.cluster.environment import environment_variables
from lft_ray.cluster.nodes import HEAD_MARK
from lft_ray.config import TrainingSpec
from lft_ray.run.storage import Storage
from lft_ray.search.dispatcher import Dispatcher
from lft_ray.search.tune.trainable import RunsTrials, make_trainable
from lft_ray.system import scratch, signals
from lft_ray.train.distributed.placement_groups import worker_groups_of

if TYPE_CHECKING:
    from lft_ray.search.tune.searcher import StudySearcher

__all__ = ["Interrupt", "StudyCallback", "catch_interrupts", "run_trials"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_TUNE_ENV = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    # Tune's handler waits up to 15 s for busy trials; `StudyCallback` stops between two steps.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
}


class Interrupt:
    """Flag set by the first SIGINT or SIGTERM."""

    def __init__(self) -> None:
        self.is_set = False

    def set(self) -> None:
        """Set the flag."""
        self.is_set = True

    def raise_if_set(self) -> None:
        """Raise KeyboardInterrupt if the flag is set. Tune does not catch it: it catches only `Exception`."""
        if self.is_set:
            number = signals.received()
            raise KeyboardInterrupt if number is None else signals.Interrupted(number)


@contextmanager
def catch_interrupts() -> Iterator[Interrupt]:
    """Set a flag on the first signal instead of raising. No effect outside the main thread (no handlers there).

    The previous handlers are restored after the first signal, so that a second one ends the process.
    """
    interrupt = Interrupt()
    if signals.owned():
        with signals.deferred(interrupt.set):
            yield interrupt
        interrupt.raise_if_set()
        return
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before: dict[int, Any] = {}

    def restore() -> None:
        while before:
            number, handler = before.popitem()
            signal.signal(number, handler)

    def set_flag(number: int, frame: FrameType | None) -> None:
        del number, frame
        interrupt.is_set = True
        restore()

    for number in SIGNALS:
        before[number] = signal.signal(number, set_flag)
    try:
        yield interrupt
    finally:
        restore()


def run_trials(
    dispatcher: Dispatcher,
    run: RunsTrials,
    cluster: ClusterHandle,
    training: TrainingSpec,
    *,
    deadline: float | None = None,
) -> None:
    """Run until the dispatcher starts no more trials and all trials have ended.

    Args:
        dispatcher: chooses trials and records their results.
        run: runs one trial in a worker.
        cluster: connected cluster.
        training: resources of a trial.
        deadline: seconds since the epoch after which hanging trials are stopped; None: no deadline.

    Raises:
        KeyboardInterrupt: the user interrupted; running trials stay unfinished.
    """
    first = dispatcher.next()
    if isinstance(first, str):
        dispatcher.close()
        return
    from lft_ray.search.tune.scheduler import StudyScheduler
    from lft_ray.search.tune.searcher import StudySearcher

    searcher, storage = StudySearcher(dispatcher, first), dispatcher.ledger.storage
    scheduler = StudyScheduler(searcher, warm_workers=dispatcher.plan.slots, deadline=deadline)
    try:
        with (
            worker_groups_of(storage, training.worker_count) if training.worker_count > 1 else nullcontext(),
            _tune_environment(dispatcher.plan.slots),
            _tune_folder(cluster, storage) as folder,
        ):
            _fit(run, searcher, scheduler, cluster, training, folder)
    finally:
        dispatcher.close()
    if searcher.fatal is not None:
        raise searcher.fatal


def _fit(
    run: RunsTrials,
    searcher: "StudySearcher",
    scheduler: Any,
    cluster: ClusterHandle,
    training: TrainingSpec,
    folder: str,
) -> None:
    from ray import tune

    bundle = _bundle(cluster, training)
    trainable = tune.with_resources(make_trainable(run), tune.PlacementGroupFactory([bundle]))
    # Tune prints a line on stdout, whatever its verbosity, for a trial that ends before its first report.
    with catch_interrupts() as interrupt, redirect_stdout(sys.stderr):
        tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=scheduler,
                num_samples=-1,
                # A reused process has weights and tokens cached; that of a sharded trial, its worker group.
                reuse_actors=True,
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
            ),
            run_config=tune.RunConfig(
                name="study",
                storage_path=folder,
                verbose=0,
                # A trial that the machine ended is handed out again by the dispatcher, which knows why.
                failure_config=tune.FailureConfig(max_failures=0),
                callbacks=[StudyCallback(searcher, interrupt, cluster)],
            ),
        ).fit()


def _bundle(cluster: ClusterHandle, training: TrainingSpec) -> dict[str, float]:
    if training.worker_count > 1:
        # The driver of a sharded trial reserves no core: with one each, n drivers could take all cores from their own
        # workers, a deadlock without an error. Ray rejects an empty bundle, so it reserves a sliver of the head node.
        return {HEAD_MARK: 0.001}
    gpus = cluster.gpus_per_worker(training.resources)
    return {"CPU": float(training.resources.cpu)} | ({"GPU": gpus} if gpus else {})


def _trial_name(trial: Any) -> str:
    started = trial.config["trial"]
    return f"{started['trial_id']}-{started['attempt']}"


@contextmanager
def _tune_folder(cluster: ClusterHandle, shared: Storage) -> Iterator[str]:
    """Tune's folder: a local temporary folder on one node, else a folder on storage that the nodes share."""
    if len(cluster.nodes) > 1:
        try:
            yield shared.uri_of(".tune")
        finally:
            shared.delete_folder(".tune")
        return
    # Locked, so that the next search removes it if this driver is killed.
    found = scratch.make("lft-tune-", Path(tempfile.gettempdir()))
    try:
        yield str(found.path)
    finally:
        found.remove()


@contextmanager
def _tune_environment(slots: int) -> Iterator[None]:
    """Silence Tune; restores environment and log level afterwards."""
    # Start all workers in parallel: one at a time, the last of 16 would start after a minute.
    values = _TUNE_ENV | {"TUNE_MAX_PENDING_TRIALS_PG": str(slots)}
    logger = logging.getLogger("ray.tune")
    level = logger.level
    with environment_variables(**values):
        logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            logger.setLevel(level)


class StudyCallback(Callback):
    """Raises stored errors and interrupts inside Tune's loop.

    Args:
        searcher: its ``fatal`` error is raised.
        interrupt: raises KeyboardInterrupt when set.
        cluster: raises UnreachableError when its core processes are dead; None: not looked at.
    """

    def __init__(self, searcher: "StudySearcher", interrupt: Interrupt, cluster: ClusterHandle | None = None) -> None:
        self._searcher = searcher
        self._interrupt = interrupt
        self._cluster = cluster

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Check once per step (at least ten per second)."""
        del iteration, info
        if self._cluster is not None:
            self._cluster.raise_if_dead()
        for trial in trials:
            if trial.status == trial.ERROR:
                self._searcher.note_lost(trial.trial_id)
            elif trial.status == trial.RUNNING:
                self._searcher.note_placed(trial.trial_id)
        self._interrupt.raise_if_set()
        if self._searcher.fatal is not None:
            raise self._searcher.fatal

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles callbacks into its own folder, which resume never reads.
        return {}
