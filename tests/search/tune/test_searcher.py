import pickle
from pathlib import Path

import pytest
from ray.tune.search import Searcher

from lft_ray.records import TrialStatus
from lft_ray.run.ledger import Ledger
from lft_ray.run.storage import Storage
from lft_ray.search.interfaces import Queued
from lft_ray.search.tune.searcher import StudySearcher
from lft_ray.search.tune.trainable import BEGAN, TRIAL
from tests.search.test_dispatcher import config, dispatcher, write_result


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path)


def searcher_of(storage: Storage, *, queue: int = 2, first: bool = False) -> StudySearcher:
    made = dispatcher(storage, queue=[Queued(config(i)) for i in range(queue)], trials=queue)
    return StudySearcher(made, made.next() if first else None)


def test_suggest_returns_the_first_trial_then_the_queue_and_then_finished(storage):
    searcher = searcher_of(storage, first=True)
    assert [searcher.suggest(name)[TRIAL]["trial_id"] for name in ("x", "y")] == ["t000", "t001"]
    assert searcher.suggest("z") is None, "both slots are busy"
    for name in ("x", "y"):
        searcher.on_trial_complete(name)
    assert searcher.suggest("z") == Searcher.FINISHED


def test_a_completed_trial_has_its_record_under_the_ledger_id(storage):
    searcher = searcher_of(storage)
    searcher.suggest("x")
    write_result(storage, searcher.dispatcher.live[0])
    searcher.on_trial_complete("x")
    assert [(r.trial_id, r.status) for r in Ledger(storage).records()] == [("t000", TrialStatus.DONE)]


def test_reasons_of_failures_and_stops_reach_the_record(storage):
    searcher = searcher_of(storage)
    searcher.suggest("x")
    searcher.suggest("y")
    searcher.note_stop("t001", "dominated")
    searcher.on_trial_complete("y")
    for name in ("x", "z", "w"):
        searcher.note_failure("t000", "RuntimeError: out of luck")
        searcher.on_trial_complete(name, error=True)
        searcher.suggest({"x": "z", "z": "w", "w": "v"}[name])
    found = [(r.status, r.reason) for r in Ledger(storage).records()]
    assert found == [
        (TrialStatus.FAILED, "RuntimeError: out of luck (attempt 3)"),
        (TrialStatus.STOPPED, "dominated"),
    ]


def test_an_error_while_recording_is_stored_and_ends_the_search(storage, monkeypatch):
    searcher = searcher_of(storage)
    searcher.suggest("x")
    full_disk = OSError("no space left")

    def put(record):
        raise full_disk

    monkeypatch.setattr(searcher.dispatcher.ledger, "put", put)
    searcher.on_trial_complete("x")
    assert searcher.fatal is full_disk
    assert searcher.suggest("y") == Searcher.FINISHED


def test_a_lost_trial_is_ended_once(storage):
    searcher = searcher_of(storage)
    searcher.suggest("x")
    searcher.note_lost("x")
    searcher.note_lost("x")
    assert Ledger(storage).records() == []
    assert [trial.attempt for trial in searcher.dispatcher.ledger.started()][:1] == [1]
    assert searcher.suggest("y")["trial"]["attempt"] == 2
    # The attempt before, which Tune still lists as an error, does not end this one.
    searcher.note_lost("x")
    assert [trial.attempt for trial in searcher.dispatcher.live] == [2]


def test_a_report_sets_the_begin_of_training_once(storage):
    searcher = searcher_of(storage)
    searcher.suggest("x")
    for at in (5.0, 9.0):
        searcher.note_report("t000", {BEGAN: at})
    searcher.note_report("t000", {})
    assert searcher.dispatcher._live["t000"].training_at == 5.0


def test_a_pickled_searcher_has_no_state(storage):
    assert vars(pickle.loads(pickle.dumps(searcher_of(storage)))) == {}
