import json
import time
from pathlib import Path

import pytest

from lft_ray.errors import DamagedFileError, InputError, LftWarning
from lft_ray.records import ScoredVariant, TrialConfig, TrialRecord, TrialResult, TrialStatus
from lft_ray.run import lock as lock_module
from lft_ray.run.ledger import Ledger, StartedTrial, check_winner, driver_lock, put_result, superseded, trial_order
from lft_ray.run.storage import Storage
from tests.report.builders import record as table_record
from tests.report.builders import selection

CONFIG = TrialConfig(model_size="tiny:1", learning_rate=1e-4, batch_size=16, epochs=1)


def record(trial_id: str = "t000", **more) -> TrialRecord:
    return TrialRecord(**{"trial_id": trial_id, "attempt": 1, "config": CONFIG, "status": "done"} | more)


def started(trial_id: str = "t000", **more) -> StartedTrial:
    return StartedTrial(**{"trial_id": trial_id, "number": 0, "config": CONFIG} | more)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "run")


def test_what_is_put_is_read_back_by_another_ledger(storage):
    ledger = Ledger(storage)
    ledger.start(started("t001", number=1))
    ledger.start(started())
    ledger.put(record())
    again = Ledger(storage)
    assert again.records() == [record()]
    assert again.get("t000") == record()
    assert again.get("t001") is None
    assert [s.trial_id for s in again.started()] == ["t000", "t001"]
    assert [s.trial_id for s in again.unfinished()] == ["t001"]


def test_a_finished_trial_is_never_written_or_started_again(storage):
    ledger = Ledger(storage)
    ledger.put(record())
    for other in (ledger, Ledger(storage)):
        with pytest.raises(InputError, match="t000 already has a record"):
            other.put(record(reason="again"))
        with pytest.raises(InputError, match="never rerun"):
            other.start(started())
    assert Ledger(storage).get("t000").reason == ""


def test_a_record_that_another_process_put_since_is_not_overwritten(storage):
    late = Ledger(storage)
    assert late.records() == []
    Ledger(storage).put(record())
    with pytest.raises(InputError, match="already has a record"):
        late.put(record())


def test_ids_go_on_after_999_and_are_apart_by_role(storage):
    ledger = Ledger(storage)
    assert ledger.next_id() == "t000"
    ledger.put(record("t999"))
    ledger.start(started("t1000"))
    assert ledger.next_id() == "t1001"
    assert ledger.next_id("confirm") == "c000"
    assert sorted(["t1000", "c000", "t101", "t999"], key=trial_order) == ["c000", "t101", "t999", "t1000"]


def test_records_are_given_by_role(storage):
    ledger = Ledger(storage)
    ledger.put(record("c000", role="confirm", confirms="t000"))
    ledger.put(record("t000"))
    assert [r.trial_id for r in ledger.records("search")] == ["t000"]
    assert [r.trial_id for r in ledger.records("confirm")] == ["c000"]
    assert [r.trial_id for r in ledger.records()] == ["c000", "t000"]


@pytest.mark.parametrize("cut", [0, 1, 17, -2])
@pytest.mark.parametrize("name", ["record.json", "started.json"])
def test_a_damaged_file_is_refused_by_name(storage, name, cut):
    ledger = Ledger(storage)
    ledger.start(started())
    ledger.put(record())
    path = Path(storage.uri) / "trials" / "t000" / name
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match=f"t000/{name} is damaged"):
        Ledger(storage).records()


def test_a_file_of_another_version_is_refused(storage):
    Ledger(storage).put(record())
    path = Path(storage.uri) / "trials" / "t000" / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"flavour": "new"}))
    with pytest.raises(InputError, match="flavour"):
        Ledger(storage).records()


def test_results_without_a_record_are_adopted_once(storage):
    ledger = Ledger(storage)
    ledger.start(started("t000", attempt=2, start=True))
    ledger.start(started("t001", number=1))
    done = TrialResult(
        trial_id="t000",
        attempt=1,
        config=CONFIG,
        status="done",
        variants=[ScoredVariant(precision="fp32", max_length=128, f1=0.9)],
    )
    lost = done.model_copy(update={"attempt": 2, "status": TrialStatus.FAILED, "variants": []})
    storage.put("trials/t000/result-1.json", done.model_dump_json())
    storage.put("trials/t000/result-2.json", lost.model_dump_json())

    def price(result: TrialResult, trial: StartedTrial) -> TrialRecord:
        return TrialRecord(**dict(result), start=trial.start, training_usd=1.5)

    fresh = Ledger(storage)
    assert [(r.trial_id, r.status, r.start, r.training_usd) for r in fresh.adopt(price)] == [
        ("t000", "done", True, 1.5)  # the attempt that finished, whichever came last
    ]
    assert fresh.adopt(price) == []
    assert [s.trial_id for s in Ledger(storage).unfinished()] == ["t001"]


def result(attempt, status, trial_id="t000", **more) -> TrialResult:
    return TrialResult(trial_id=trial_id, attempt=attempt, config=CONFIG, status=status, **more)


def record_of(found: TrialResult, trial: StartedTrial) -> TrialRecord:
    return TrialRecord(**dict(found))


@pytest.mark.parametrize(
    ("results", "adopted"),
    [
        ([(1, "failed")], []),  # attempt 2 continues from its checkpoint
        ([(1, "failed"), (2, "failed")], [2]),
        ([(1, "done")], [1]),
        ([(1, "stopped")], [1]),
        ([(1, "infeasible"), (2, "failed")], [2]),
        ([(1, "done"), (2, "stopped")], [1]),
        ([], []),
    ],
)
def test_a_failure_of_an_earlier_attempt_ends_no_trial(storage, results, adopted):
    Ledger(storage).start(started(attempt=2))
    for attempt, status in results:
        storage.put(f"trials/t000/result-{attempt}.json", result(attempt, status).model_dump_json())
    assert [r.attempt for r in Ledger(storage).adopt(record_of)] == adopted


def test_an_attempt_that_was_superseded_writes_no_result(storage):
    ledger = Ledger(storage)
    ledger.start(started(attempt=1))
    assert not superseded(storage, "t000", 1)
    ledger.start(started(attempt=2))
    assert superseded(storage, "t000", 1)
    assert not put_result(storage, result(1, "failed"))
    assert put_result(storage, result(2, "done"))
    assert Ledger(storage).result("t000", 1) is None
    assert Ledger(storage).result("t000", 2).status is TrialStatus.DONE
    assert put_result(storage, result(1, "done", "t009"))  # measured alone, without a ledger


def test_a_winner_without_a_record_is_named(storage):
    chosen = selection()
    with pytest.raises(DamagedFileError, match=rf"trials/{chosen.winner.trial_id}/record\.json is missing"):
        check_winner(chosen, Ledger(storage))
    check_winner(None, Ledger(storage))


def test_a_driver_that_lost_its_run_writes_nothing_more(storage, monkeypatch):
    monkeypatch.setattr(lock_module, "HEARTBEAT_S", 0.02)
    with driver_lock(storage) as lock:
        other = lock.holder().model_copy(update={"host": "elsewhere"})
        storage.put("driver.lock", other.model_dump_json())
        while not lock.lost:
            time.sleep(0.01)
        with pytest.raises(InputError, match="another driver has taken over"):
            Ledger(storage).put(record())
    assert lock.holder() == other


@pytest.mark.parametrize("name", ["record.json", "started.json"])
def test_a_file_of_another_trial_is_refused_and_not_counted_twice(storage, name):
    ledger = Ledger(storage)
    ledger.start(started())
    ledger.put(record())
    storage.put(f"trials/t001/{name}", storage.get(f"trials/t000/{name}"))
    with pytest.raises(DamagedFileError, match=rf"trials/t001/{name} is that of trial t000, not of t001"):
        Ledger(storage).records()


def test_a_copy_beside_a_trial_is_no_trial_and_is_told(storage):
    Ledger(storage).put(record())
    storage.put("trials/t000 (copy)/record.json", storage.get("trials/t000/record.json"))
    storage.put("trials/notes/remark.txt", "mine")
    with pytest.warns(LftWarning, match=r"t000 \(copy\) is ignored: its name is no trial id"):
        assert Ledger(storage).records() == [record()]


OTHERS = {
    "failed": ({"status": TrialStatus.FAILED, "variants": []}, "its record says failed"),
    "of another size": ({"config": CONFIG}, "the selection says minilm:3, its record tiny:1"),
    "without the variant": ({"variants": []}, "fp32 at 128 tokens, of which its record has no score"),
    "of another score": ({}, r"the selection says an F1 of 0\.5\d+, its record 0\.9"),
}


@pytest.mark.parametrize(("changes", "problem"), OTHERS.values(), ids=OTHERS)
def test_a_selection_of_another_run_is_refused(storage, changes, problem):
    chosen = selection()
    size, shipped = chosen.winner.model_size, chosen.winner_seed_trial_id
    for trial_id in {chosen.winner.trial_id, shipped}:
        found = table_record(trial_id, size)
        storage.put(f"trials/{trial_id}/record.json", found.replace(**changes).model_dump_json())
    with pytest.raises(DamagedFileError, match=problem):
        check_winner(chosen.replace(checkpoint_f1=0.5123), Ledger(storage))
