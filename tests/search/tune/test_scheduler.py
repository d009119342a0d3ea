from types import SimpleNamespace

import pytest
from ray.tune.schedulers import TrialScheduler

from lft_ray.causes import EndCause, Fault
from lft_ray.errors import StorageError
from lft_ray.run.storage import Storage
from lft_ray.search.interfaces import Queued
from lft_ray.search.tune.scheduler import StudyScheduler, _error_line
from lft_ray.search.tune.searcher import StudySearcher
from lft_ray.search.tune.trainable import BEGAN, FAULT, POINT, TRIAL
from tests.search.test_dispatcher import config, dispatcher


def report(fraction: float, f1: float) -> dict:
    fields = {"fraction": fraction, "f1": f1, "loss": 1.0, "train_s": 1.0, "step": 1}
    return {BEGAN: 1.0} | {f"{POINT}/{name}": value for name, value in fields.items()}


def scheduler_with(tmp_path, rule) -> tuple[StudyScheduler, StudySearcher, SimpleNamespace]:
    queue = [Queued(config(0))]
    searcher = StudySearcher(dispatcher(Storage(tmp_path), queue=queue, rule=rule, known_cost=lambda config: 1.0))
    return StudyScheduler(searcher), searcher, SimpleNamespace(config=searcher.suggest("x"))


def test_points_reach_the_dispatcher_and_a_rule_stops_the_trial(tmp_path):
    scheduler, searcher, trial = scheduler_with(
        tmp_path, lambda snapshot: "too low" if snapshot.curve[-1].f1 < 0.5 else ""
    )
    assert scheduler.on_trial_result(None, trial, {BEGAN: 1.0}) == TrialScheduler.CONTINUE
    assert scheduler.on_trial_result(None, trial, report(0.2, 0.6)) == TrialScheduler.CONTINUE
    assert scheduler.on_trial_result(None, trial, report(0.4, 0.4)) == TrialScheduler.STOP
    searcher.on_trial_complete("x")
    (record,) = searcher.dispatcher.ledger.records()
    assert (record.reason, [p.fraction for p in record.curve]) == ("too low", [0.2, 0.4])


def test_an_error_of_the_rule_is_stored_for_the_study(tmp_path):
    def rule(snapshot):
        raise ValueError("bad rule")

    scheduler, searcher, trial = scheduler_with(tmp_path, rule)
    assert scheduler.on_trial_result(None, trial, report(0.2, 0.6)) == TrialScheduler.CONTINUE
    assert str(searcher.fatal) == "bad rule"


@pytest.mark.parametrize(
    "said",
    [
        "The actor is dead because its worker process has died",
        "The actor never ran - it was cancelled before it started running.",
    ],
)
def test_a_dead_worker_is_replaced_under_another_attempt(tmp_path, said):
    scheduler, searcher, trial = scheduler_with(tmp_path, None)
    error = tmp_path / "error.txt"
    error.write_text(f"Traceback\n{said}. Worker exit type: SYSTEM_ERROR\n")
    trial.error_file = str(error)
    for number, name in enumerate("xyz"):
        scheduler.on_trial_error(None, trial)
        searcher.on_trial_complete(name, error=True)
        if number < 2:
            trial.config = searcher.suggest("xyz"[number + 1])
            assert trial.config[TRIAL]["attempt"] == number + 2
            # What Tune still says about the attempt before does not touch this one.
            searcher.note_lost(name)
    (record,) = searcher.dispatcher.ledger.records()
    assert (record.attempt, record.status, record.cause) == (3, "failed", "worker_killed")
    assert record.reason == f"ActorDiedError: {said} (attempt 3)"


def test_trouble_of_the_machine_that_a_worker_reports_is_no_record(tmp_path):
    _, searcher, _ = scheduler_with(tmp_path, None)
    fault = Fault(cause=EndCause.DISK_FULL, message="no space", path=str(tmp_path))
    searcher.on_trial_complete("x", {FAULT: fault.model_dump_json()})
    assert isinstance(searcher.fatal, StorageError)
    assert searcher.dispatcher.ledger.records() == []
    assert [t.trial_id for t in searcher.dispatcher.ledger.unfinished()] == ["t000"]


def test_tune_is_told_that_all_is_over_only_when_nothing_can_run_again(tmp_path):
    """After FINISHED Tune asks no more, and a trial whose worker dies then would be lost."""
    _, searcher, _ = scheduler_with(tmp_path, None)
    assert searcher.suggest("y") is None
    assert searcher.dispatcher.end_reason
    searcher.on_trial_complete("x", error=True)
    assert searcher.suggest("z")[TRIAL]["attempt"] == 2
    searcher.on_trial_complete("z", {})
    assert searcher.suggest("w") == "FINISHED"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("Traceback\n  line\nValueError: bad\n\n", "ValueError: bad"),
        ("ActorDiedError: gone. Worker exit type: SYSTEM_ERROR", "ActorDiedError: gone"),
        ("x" * 400, "x" * 300),
    ],
)
def test_error_line_is_the_last_line_without_the_advice(text, expected):
    assert _error_line(text) == expected
