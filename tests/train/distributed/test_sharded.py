"""Sharded trials on a real local Ray cluster, called from a plain driver. They share a worker group where they can."""

import os
import shutil
import signal
import tempfile
import threading
import time

import psutil
import pytest

from lft_ray.cluster.connect import connect
from lft_ray.config import ClusterSpec
from lft_ray.records import TrialRecord, TrialResult, TrialStatus
from lft_ray.run.ledger import Ledger, StartedTrial, read_result
from lft_ray.run.storage import Storage
from lft_ray.search.dispatcher import Dispatcher
from lft_ray.search.interfaces import NullListener, Queued, StudyPlan
from lft_ray.search.stopping.base import TrialSnapshot
from lft_ray.search.tune.trainable import TrialRunner
from lft_ray.search.tune.tuner import run_trials
from lft_ray.train.device.usage_notes import WORKER_GROUPS
from lft_ray.train.distributed.placement_groups import placement_groups, wait_until
from lft_ray.train.distributed.sharded import run_sharded
from lft_ray.train.distributed.worker_group import shut_down
from lft_ray.train.job import result_name, trial_storage
from lft_ray.train.trial import run_trial

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
TOLERANCE = 1e-4
"""Relative, at each point of the curve, in fp32: gradients of two workers sum in another order."""


@pytest.fixture(scope="module")
def cluster():
    # Ray's workers run at nice 15: on a busy machine they would starve.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112
    import ray

    folder = tempfile.mkdtemp(prefix="lr", dir="/tmp")
    ray.init(
        address="local",
        num_cpus=3,
        # Placement groups must be removed without the dashboard's help.
        include_dashboard=False,
        object_store_memory=100_000_000,
        _temp_dir=folder,
        log_to_driver=False,
        configure_logging=False,
    )
    yield
    shut_down()
    assert workers() == []
    assert ray.available_resources()["CPU"] == 3.0
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def workers() -> list[psutil.Process]:
    """The training workers of the cluster that this process started."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "RayTrainWorker" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def assert_same_curve(sharded: TrialResult, alone: TrialResult) -> None:
    assert [point.step for point in sharded.curve] == [point.step for point in alone.curve]
    worst = max(abs(a.loss - b.loss) / b.loss for a, b in zip(sharded.curve, alone.curve, strict=True))
    print(f"greatest relative difference of a validation loss: {worst:.1e}")
    assert worst <= TOLERANCE
    assert [point.f1 for point in sharded.curve] == pytest.approx([p.f1 for p in alone.curve], rel=TOLERANCE)


def test_two_workers_reach_the_result_of_one(cluster, trial_job):
    # 119 rows in batches of 2: the last step has one row, so one worker has none.
    changes = {"config": {"batch_size": 2, "epochs": 1, "learning_rate": 1e-3}, "max_lengths": [8]}
    alone = run_trial(trial_job(trial_id="alone", **changes), lambda _: None)
    job = trial_job(trial_id="sharded", training={"workers": 2}, **changes)
    seen = []
    began = time.monotonic()
    result = run_sharded(job, seen.append)
    print(f"sharded trial: {time.monotonic() - began:.1f} s")
    assert result.status is TrialStatus.DONE, result.reason
    assert_same_curve(result, alone)
    assert [point["fraction"] for point in seen] == [point.fraction for point in result.curve]
    assert result.usage.tokens == alone.usage.tokens
    assert [v.max_length for v in result.variants] == [32, 8]
    assert [v.f1 for v in result.variants] == pytest.approx([v.f1 for v in alone.variants], rel=TOLERANCE)
    storage = trial_storage(job)
    assert read_result(Storage(job.run_uri), job.trial_id, 1) == result
    assert storage.folders() == ["checkpoint", "predictions"]


def test_a_warm_worker_group_reaches_the_result_of_a_cold_one(cluster, trial_job):
    changes = {"config": {"batch_size": 8, "epochs": 1}, "training": {"workers": 2}}
    run_sharded(trial_job(trial_id="before", **changes), lambda _: None)
    before = {process.pid for process in workers()}
    results, starts = [], []
    for name in ("first", "second", "third"):
        began = time.monotonic()
        results.append(run_sharded(trial_job(trial_id=name, **changes), lambda _: None))
        starts.append(time.monotonic() - began - results[-1].usage.wall_s)
    assert {process.pid for process in workers()} == before
    curves = [[(p.f1, p.loss, p.train_loss) for p in result.curve] for result in results]
    assert curves[0] == curves[1] == curves[2]
    print(f"seconds outside of the trial, warm: {starts}")


class StopError(Exception):
    pass


def test_a_cancelled_trial_leaves_its_workers_to_the_next_trial(cluster, trial_job):
    seen = []

    def report(point):
        seen.append(point)
        raise StopError

    settings = {"workers": 2, "evaluations": 10}
    job = trial_job(trial_id="stopped", config={"batch_size": 1, "epochs": 40}, training=settings)
    with pytest.raises(StopError):
        run_sharded(job, report)
    before = {process.pid for process in workers()}
    began = time.monotonic()
    result = run_sharded(trial_job(trial_id="next", config={"epochs": 1}, training={"workers": 2}), lambda _: None)
    print(f"the trial after a cancelled one: {time.monotonic() - began:.1f} s")
    assert result.status is TrialStatus.DONE, result.reason
    assert {process.pid for process in workers()} == before
    assert len(seen) == 1
    assert not trial_storage(job).exists(result_name(1))


@pytest.mark.chaos
def test_a_killed_worker_is_replaced_and_the_trial_ends_the_same(cluster, trial_job):
    changes = {"config": {"batch_size": 4, "epochs": 16, "learning_rate": 1e-3}}
    settings = {"evaluations": 10}
    alone = run_trial(trial_job(trial_id="alone", training=settings, **changes), lambda _: None)
    settings |= {"workers": 2, "checkpoint_every_s": 0.2}
    job = trial_job(trial_id="chaos", training=settings, **changes)
    killed, seen = [], []

    def report(point):
        seen.append(point["fraction"])
        if point["fraction"] > 0.15 and not killed:
            victim = workers()[-1]
            killed.append(victim.pid)
            victim.send_signal(signal.SIGKILL)

    result = run_sharded(job, report)
    assert killed
    assert result.status is TrialStatus.DONE, result.reason
    assert_same_curve(result, alone)
    assert seen == [point.fraction for point in result.curve]
    # Repeated steps are counted twice; only usage not recorded before the kill is lost.
    assert result.usage.tokens >= 0.95 * alone.usage.tokens


def test_bad_input_is_a_failed_result_at_once(cluster, trial_job):
    job = trial_job(trial_id="bad", training={"workers": 2}, config={"max_length": 500})
    result = run_sharded(job, lambda _: None)
    assert result.status is TrialStatus.FAILED
    assert "max_length" in result.reason


class Watch(NullListener):
    def __init__(self) -> None:
        self.worker_groups: list[set[int]] = []

    def on_point(self, trial_id, point):
        self.worker_groups.append({process.pid for process in workers()})


def stop_the_second(snapshot: TrialSnapshot) -> str:
    return "it was enough" if snapshot.trial.trial_id == "t001" else ""


def wait_while(is_there, limit_s: float = 60.0) -> None:
    deadline = time.monotonic() + limit_s
    while is_there():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def price(result: TrialResult, trial: StartedTrial) -> TrialRecord:
    return TrialRecord(**dict(result), role=trial.role, start=trial.start, training_usd=0.0)


def study(run_uri: str, template, listener, **fields) -> list[TrialRecord]:
    ledger = Ledger(Storage(run_uri))
    ledger.adopt(price)
    configs = [template.config.model_copy(update={"seed": seed}) for seed in range(3)]
    plan = StudyPlan(queue=tuple(map(Queued, configs)), trials=3, slots=1, known_cost=lambda _: 1.0, **fields)
    with connect(ClusterSpec()) as handle:
        dispatcher = Dispatcher(ledger, plan, None, price, listener=listener)
        run_trials(dispatcher, TrialRunner(template), handle, template.training)
    return ledger.records()


def test_a_study_uses_one_worker_group_and_leaves_nothing(cluster, trial_job, tmp_path):
    shut_down()
    template = trial_job(training={"workers": 2, "evaluations": 6}, config={"batch_size": 2, "epochs": 4})
    watch = Watch()
    records = study(template.run_uri, template, watch, rule=stop_the_second)
    assert [r.status for r in records] == [TrialStatus.DONE, TrialStatus.STOPPED, TrialStatus.DONE], records
    assert records[1].reason == "it was enough"
    assert len(records[1].curve) < len(records[0].curve) == 7
    assert len(set().union(*watch.worker_groups)) == 2, "one group of two workers must run all trials"
    # The first trial waited for the group to start, the others did not wait.
    print("overhead of the trials:", [round(r.overhead_s or 0.0, 2) for r in records])
    import ray

    wait_while(workers)
    wait_while(lambda: ray.available_resources().get("CPU") != 3.0)
    assert not Storage(template.run_uri).exists(WORKER_GROUPS)


def test_an_interrupted_study_leaves_nothing(cluster, trial_job, tmp_path):
    template = trial_job(training={"workers": 2, "evaluations": 50}, config={"batch_size": 1, "epochs": 20})

    class Impatient(NullListener):
        def on_point(self, trial_id, point):
            if point.fraction > 0:
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        study(template.run_uri, template, Impatient())
    assert Ledger(Storage(template.run_uri)).records() == []
    import ray

    assert placement_groups(2) == frozenset()
    wait_while(workers)
    wait_while(lambda: ray.available_resources().get("CPU") != 3.0)


def test_a_study_interrupted_while_its_workers_start_leaves_nothing(cluster, trial_job):
    import ray

    template = trial_job(training={"workers": 2}, config={"epochs": 1})

    def interrupt():
        wait_until(lambda: bool(placement_groups(2)), 60)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        study(template.run_uri, template, NullListener())
    assert placement_groups(2) == frozenset()
    wait_while(workers)
    wait_while(lambda: ray.available_resources().get("CPU") != 3.0)
    assert not Storage(template.run_uri).exists(WORKER_GROUPS)
