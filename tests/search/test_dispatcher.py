import re
from pathlib import Path

import pytest

from lft_ray.causes import EndCause, Fault
from lft_ray.cost.budget import Verdict
from lft_ray.errors import InputError, StorageError, UnreachableError
from lft_ray.records import CurvePoint, ScoredVariant, TrialConfig, TrialRecord, TrialResult, TrialStatus, Usage
from lft_ray.run.ledger import Ledger, StartedTrial
from lft_ray.run.storage import Storage
from lft_ray.search.crowding import Crowding
from lft_ray.search.dispatcher import Dispatcher
from lft_ray.search.endings import Endings
from lft_ray.search.interfaces import Queued, StudyPlan
from lft_ray.train.device.usage_notes import put_usage
from tests.search.driver import price


def config(number: int, seed: int = 0) -> TrialConfig:
    return TrialConfig(model_size="tiny:1", learning_rate=1e-5 * (number + 1), batch_size=16, epochs=1, seed=seed)


class Recorder:
    """Proposes numbered configurations and remembers what each was made from."""

    def __init__(self, limit: int = 1000):
        self.limit = limit
        self.seen: dict[int, tuple[list[str], int]] = {}
        """Proposal -> ids observed, number pending."""

    def warm_up(self):
        pass

    def propose(self, n, observed, pending, fits=None):
        self.seen[n] = ([r.trial_id for r in observed], len(pending))
        candidates = (config(k) for k in range(n, self.limit))
        return next((c for c in candidates if fits is None or fits(c)), None)


class Wallet:
    """One dollar a running trial; each ends at half of that."""

    def __init__(self, dollars: float):
        self.dollars = dollars
        self.promised: dict[str, float] = {}

    def verdict(self, config, role):
        left = self.dollars - sum(self.promised.values())
        return Verdict(True) if left >= 1 else Verdict(False, f"${left:.2f} are left")

    def reserve(self, trial_id, config, role):
        self.promised[trial_id] = 1.0

    def settle(self, record):
        self.promised.pop(record.trial_id, None)
        self.dollars -= 0.5


class EventListener:
    def __init__(self):
        self.events = []

    def on_start(self, trial):
        self.events.append(("start", trial.trial_id, trial.attempt))

    def on_placed(self, trial_id):
        pass

    def on_note(self, text):
        pass

    def on_point(self, trial_id, point):
        self.events.append(("point", trial_id, point.fraction))

    def on_record(self, record):
        self.events.append(("record", record.trial_id, record.status))


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path)


def dispatcher(storage, proposer=None, *, queue=(), trials=8, slots=2, admission=None, listener=None, **plan):
    return Dispatcher(
        Ledger(storage),
        StudyPlan(queue=tuple(queue), trials=trials, slots=slots, **plan),
        proposer,
        price,
        admission,
        listener,
    )


def write_result(storage, trial: StartedTrial, status: str = "done", **more) -> None:
    result = TrialResult(
        trial_id=trial.trial_id,
        attempt=trial.attempt,
        config=trial.config,
        status=status,
        usage=Usage(core_s=2.0, wall_s=2.0),
        variants=[ScoredVariant(precision="fp32", max_length=128, f1=0.9)],
    ).model_copy(update=more)
    storage.child("trials", trial.trial_id).put(f"result-{trial.attempt}.json", result.model_dump_json())


def drain(d: Dispatcher, storage, order=min, stop_after=10**9) -> list[str]:
    """Run to the end, ending live trials in the given order. Returns ids in the order of their starts."""
    live: dict[str, StartedTrial] = {}
    ids, ended = [], 0
    while ended < stop_after:
        while isinstance(trial := next_trial(d), StartedTrial):
            live[trial.trial_id] = trial
            ids.append(trial.trial_id)
        if trial == "finished" and not live:
            break
        chosen = live.pop(order(live))
        write_result(storage, chosen)
        d.end(chosen.trial_id)
        ended += 1
    return ids


def next_trial(d: Dispatcher) -> StartedTrial | str:
    while (trial := d.next()) == "wait" and d._proposal is not None:
        pass
    return trial


def test_the_queue_goes_first_and_trials_bound_the_whole(storage):
    proposer = Recorder()
    ids = drain(dispatcher(storage, proposer, queue=[Queued(config(100)), Queued(config(101))], trials=5), storage)
    assert ids == ["t000", "t001", "t002", "t003", "t004"]
    records = Ledger(storage).records()
    assert [r.start for r in records] == [True, True, False, False, False]
    assert [r.config for r in records[:2]] == [config(100), config(101)]
    assert sorted(proposer.seen) == [2, 3, 4]


@pytest.mark.parametrize("order", [min, max])
def test_in_deterministic_order_a_proposal_sees_exactly_the_trials_before_its_lag(storage, order):
    proposer = Recorder()
    drain(dispatcher(storage, proposer, trials=12, slots=3), storage, order)
    for n, (observed, pending) in proposer.seen.items():
        assert observed == [f"t{i:03d}" for i in range(n - 3 + 1)]
        assert pending == n - len(observed)


def test_otherwise_a_proposal_sees_all_that_has_ended(storage):
    proposer = Recorder()
    drain(dispatcher(storage, proposer, trials=8, slots=3, is_deterministic=False), storage, max)
    # The first two stay busy while the third slot ends one trial after another.
    assert proposer.seen[7] == (["t002", "t003", "t004", "t005", "t006"], 2)


def test_no_more_than_its_slots_run(storage):
    d = dispatcher(storage, Recorder(), slots=2)
    assert isinstance(next_trial(d), StartedTrial)
    assert isinstance(next_trial(d), StartedTrial)
    assert d.next() == "wait"
    assert len(d.live) == 2


@pytest.mark.parametrize("killed_after", range(7))
def test_resume_gives_the_same_proposals_and_reruns_nothing(tmp_path, killed_after):
    whole, broken = Storage(tmp_path / "whole"), Storage(tmp_path / "broken")
    calm, before, after = Recorder(), Recorder(), Recorder()
    drain(dispatcher(whole, calm, queue=[Queued(config(50))], trials=8), whole)
    plan = {"queue": [Queued(config(50))], "trials": 8}
    drain(dispatcher(broken, before, **plan), broken, max, stop_after=killed_after)
    finished = {r.trial_id for r in Ledger(broken).records()}
    again = drain(dispatcher(broken, after, **plan), broken)
    assert not finished & set(again)
    assert {**before.seen, **after.seen} == calm.seen
    assert [r.config for r in Ledger(broken).records()] == [r.config for r in Ledger(whole).records()]


def test_a_resumed_search_keeps_its_lag_on_a_larger_machine(storage):
    drain(dispatcher(storage, Recorder(), trials=3, slots=2), storage)
    proposer = Recorder()
    d = dispatcher(storage, proposer, trials=9, slots=8)
    next_trial(d)
    next_trial(d)
    assert d.next() == "wait"
    assert proposer.seen[3][0] == ["t000", "t001"]


def test_an_unfinished_trial_is_continued_under_its_id(storage):
    first = dispatcher(storage, Recorder())
    trial = next_trial(first)
    listener = EventListener()
    again = next_trial(dispatcher(storage, Recorder(), listener=listener))
    assert (again.trial_id, again.attempt, again.config) == (trial.trial_id, 2, trial.config)
    assert listener.events == [("start", "t000", 2)]


def test_a_result_that_was_written_is_adopted_not_rerun(storage):
    trial = next_trial(dispatcher(storage, Recorder()))
    write_result(storage, trial)
    ledger = Ledger(storage)
    ledger.adopt(price)
    assert ledger.unfinished() == []
    assert next_trial(dispatcher(storage, Recorder())).trial_id == "t001"


def test_the_record_is_written_before_the_listener_is_called(storage):
    class Checks(EventListener):
        def on_record(self, record):
            assert Ledger(storage).get(record.trial_id) == record
            super().on_record(record)

    listener = Checks()
    d = dispatcher(storage, Recorder(), listener=listener)
    trial = next_trial(d)
    d.on_point(trial.trial_id, CurvePoint(fraction=0.5, f1=0.5, loss=1.0, train_s=1.0))
    write_result(storage, trial)
    record = d.end(trial.trial_id)
    assert record.training_usd == pytest.approx(2e-5)
    assert [e[0] for e in listener.events] == ["start", "point", "record"]


KILLED = Fault(cause=EndCause.WORKER_KILLED, message="its worker died")
OOM = Fault(cause=EndCause.OUT_OF_MEMORY, message="killed for lack of memory")


def test_a_dead_worker_is_given_two_more_attempts_and_at_last_fails(storage):
    d = dispatcher(storage, Recorder())
    trial = next_trial(d)
    for attempt in (2, 3):
        assert d.interrupted(trial.trial_id, KILLED) is None
        assert Ledger(storage).records() == []
        assert (next_trial(d).attempt, Ledger(storage).started()[0].attempt) == (attempt, attempt)
    # A result of an attempt that was given up for dead is not taken for the last one's.
    write_result(storage, trial)
    record = d.interrupted(trial.trial_id, KILLED)
    assert (record.status, record.cause, record.attempt) == (TrialStatus.FAILED, EndCause.WORKER_KILLED, 3)
    assert record.reason == "its worker died (attempt 3)"
    assert record.usage.core_s > 0
    assert d.live == []


def test_a_worker_that_dies_after_its_result_is_written_has_done_its_work(storage):
    d = dispatcher(storage, Recorder())
    trial = next_trial(d)
    write_result(storage, trial)
    record = d.interrupted(trial.trial_id, KILLED)
    assert (record.status, record.attempt) == (TrialStatus.DONE, 1)
    assert d.live == []


def test_a_lost_node_never_counts(storage):
    d = dispatcher(storage, Recorder())
    trial = next_trial(d)
    for attempt in range(2, 12):
        assert d.interrupted(trial.trial_id, Fault(cause=EndCause.NODE_LOST, message="gone")) is None
        assert next_trial(d).attempt == attempt
    assert Ledger(storage).records() == []


@pytest.mark.parametrize("cause", [EndCause.DISK_FULL, EndCause.READ_ONLY, EndCause.IO_ERROR])
def test_a_failing_disk_stops_the_study_and_leaves_its_trials_unfinished(storage, cause):
    d = dispatcher(storage, Recorder())
    trial = next_trial(d)
    with pytest.raises(StorageError, match=re.escape(storage.uri)) as raised:
        d.interrupted(trial.trial_id, Fault(cause=cause, message="write failed", path=storage.uri))
    assert "--resume" in str(raised.value)
    assert "B free" in str(raised.value)
    assert [t.trial_id for t in Ledger(storage).unfinished()] == [trial.trial_id]
    again = dispatcher(storage, Recorder())
    assert (resumed := next_trial(again)).trial_id == trial.trial_id
    assert resumed.attempt == 2


def test_storage_that_does_not_answer_is_waited_for_and_then_ends_the_study(storage, monkeypatch):
    monkeypatch.setattr("lft_ray.search.endings.STALL_S", 0.0)
    d = dispatcher(storage, Recorder())
    trial = next_trial(d)
    gone = Fault(cause=EndCause.STORAGE_UNREACHABLE, message="AWS Error NETWORK_CONNECTION", path="s3://b/run")
    for attempt in (2, 3, 4):
        d.interrupted(trial.trial_id, gone)
        assert next_trial(d).attempt == attempt
    with pytest.raises(UnreachableError, match="s3://b/run does not answer"):
        d.interrupted(trial.trial_id, gone)
    assert Ledger(storage).records() == []


def test_a_pause_before_a_restart_is_kept(storage):
    d = dispatcher(storage, Recorder())
    trial = next_trial(d)
    d.interrupted(trial.trial_id, Fault(cause=EndCause.STORAGE_UNREACHABLE, message="slow"))
    assert d.next() == "wait"
    assert not d.is_over


def test_two_trials_that_were_killed_for_lack_of_memory_run_one_after_the_other(storage):
    notes: list[str] = []

    class Notes(EventListener):
        def on_note(self, text):
            notes.append(text)

    listener = Notes()
    d = dispatcher(storage, Recorder(), trials=6, listener=listener, memory_bytes=lambda config: 1e9)
    d.endings.there_bytes = 1.5e9
    first, second = next_trial(d), next_trial(d)
    d.interrupted(first.trial_id, OOM)
    d.interrupted(second.trial_id, OOM)
    assert notes[0] == "t000 tiny:1: out of memory: 2 x 1.0 GB asked, 1.5 GB there; it runs again, alone"
    for trial in (first, second):
        assert next_trial(d).trial_id == trial.trial_id
        assert d.next() == "wait"
        write_result(storage, trial.replace(attempt=2))
        d.end(trial.trial_id)
    # What was learnt holds for the rest: two of this size never run side by side again.
    third = next_trial(d)
    assert third.trial_id == "t002"
    assert d.next() == "wait"
    write_result(storage, third)
    d.end(third.trial_id)
    assert {r.status for r in Ledger(storage).records()} == {TrialStatus.DONE}


def test_smaller_trials_still_run_side_by_side_after_a_large_one_ran_out_of_memory():
    crowding = Crowding()
    crowding.learn(2e9, at_once=2)
    assert crowding.has_room(1e9, [1e9])
    assert not crowding.has_room(1e9, [2e9])
    assert not crowding.has_room(3e9, [1e9])
    assert crowding.has_room(3e9, [])


def test_a_trial_that_does_not_fit_even_alone_fails_with_its_cause_and_can_be_told_to_run_again(storage):
    d = dispatcher(storage, Recorder(), trials=1, memory_bytes=lambda config: 2e9)
    d.endings.there_bytes = 1.5e9
    trial = next_trial(d)
    d.interrupted(trial.trial_id, OOM)
    assert next_trial(d).attempt == 2
    record = d.interrupted(trial.trial_id, OOM)
    assert (record.status, record.cause) == (TrialStatus.FAILED, EndCause.OUT_OF_MEMORY)
    assert record.reason == ("out of memory: 1 x 2.0 GB asked, 1.5 GB there; it does not fit even alone (attempt 2)")
    ledger = Ledger(storage)
    assert ledger.reopen_failed() == [record]
    again = dispatcher(storage, Recorder(), trials=1)
    resumed = next_trial(again)
    assert (resumed.trial_id, resumed.attempt) == (trial.trial_id, 3)
    write_result(storage, resumed)
    done = again.end(resumed.trial_id)
    assert done.status is TrialStatus.DONE
    assert Ledger(storage).failed_before(trial.trial_id) == [record]


def test_kills_that_the_kernel_counts_are_told_from_others(storage):
    kills = iter([2, 0, 0])
    endings = Endings(storage.uri, lambda config: 0.0, lambda: next(kills), 1e9)
    died = "ActorDiedError: The actor is dead because its worker process has died"
    # Two killed at once are counted before the first of them is reported.
    causes = [endings.diagnose(died).cause for _ in range(3)]
    assert causes == [EndCause.OUT_OF_MEMORY, EndCause.OUT_OF_MEMORY, EndCause.WORKER_KILLED]


def test_a_defect_of_the_trial_is_tried_again_but_not_alone(storage):
    d = dispatcher(storage, Recorder())
    first, second = next_trial(d), next_trial(d)
    bug = Fault(cause=EndCause.CONFIGURATION, message="RuntimeError: out of luck")
    d.interrupted(first.trial_id, bug)
    assert next_trial(d).attempt == 2
    assert len(d.live) == 2
    d.interrupted(first.trial_id, bug)
    next_trial(d)
    record = d.interrupted(first.trial_id, bug)
    assert (record.cause, record.reason) == (EndCause.CONFIGURATION, "RuntimeError: out of luck (attempt 3)")
    assert [t.trial_id for t in d.live] == [second.trial_id]


def test_a_trial_without_result_or_reason_was_stopped_with_its_curve(storage):
    d = dispatcher(storage, Recorder())
    trial = next_trial(d)
    point = CurvePoint(fraction=0.3, f1=0.5, loss=1.0, train_s=1.0)
    d.on_point(trial.trial_id, point)
    record = d.end(trial.trial_id)
    assert (record.status, record.curve, record.variants) == (TrialStatus.STOPPED, [point], [])


def test_a_result_that_could_not_be_written_is_taken_from_the_report(storage):
    d = dispatcher(storage, Recorder())
    trial = next_trial(d)
    reported = TrialResult(trial_id=trial.trial_id, attempt=1, config=trial.config, status="failed", reason="disk full")
    record = d.end(trial.trial_id, result=reported)
    assert record.reason == "disk full"
    # It used its core, though it could not say how long.
    assert record.usage.core_s > 0


def test_a_trial_never_ends_twice(storage):
    d = dispatcher(storage, Recorder())
    trial = next_trial(d)
    write_result(storage, trial)
    d.end(trial.trial_id)
    other = dispatcher(storage, Recorder())
    with pytest.raises(InputError, match="never rerun"):
        other.ledger.put(TrialRecord(**dict(d.ledger.get(trial.trial_id))))


def test_dollars_hold_starts_back_until_running_trials_settle(storage):
    # 2.2 dollars: two trials at first; the third starts only when they have settled at half their worst case.
    d = dispatcher(storage, Recorder(), slots=4, admission=Wallet(2.2), is_deterministic=False)
    first, second = next_trial(d), next_trial(d)
    assert d.next() == "wait"
    for trial in (first, second):
        write_result(storage, trial)
        d.end(trial.trial_id)
    third = next_trial(d)
    assert isinstance(third, StartedTrial)
    write_result(storage, third)
    d.end(third.trial_id)
    assert next_trial(d) == "finished"
    assert d.is_over
    assert "fits" in d.end_reason


def test_a_start_trial_over_budget_is_skipped_for_a_cheaper_proposal(storage):
    class Only(Wallet):
        def verdict(self, config, role):
            return Verdict(config.learning_rate < 4e-5, "too expensive")

    queue = [Queued(config(i)) for i in (1, 9, 0)]
    d = dispatcher(storage, Recorder(), queue=queue, trials=3, admission=Only(9), is_deterministic=False)
    drain(d, storage)
    assert [r.config for r in Ledger(storage).records()] == [config(1), config(0), config(2)]
    assert "too expensive" in d.refusal


def test_an_unfinished_trial_that_cannot_be_paid_is_written_off_once(storage):
    next_trial(dispatcher(storage, Recorder()))
    d = dispatcher(storage, Recorder(), admission=Wallet(0.1))
    assert next_trial(d) == "finished"
    assert Ledger(storage).get("t000").status is TrialStatus.STOPPED
    assert "are left" in Ledger(storage).get("t000").reason


def test_an_exhausted_space_ends_the_search(storage):
    d = dispatcher(storage, Recorder(limit=3), trials=20, slots=1)
    assert drain(d, storage) == ["t000", "t001", "t002"]


def test_fresh_seed_runs_have_ids_of_their_own_and_are_not_repeated(storage):
    drain(dispatcher(storage, Recorder(), trials=2), storage)
    queue = [Queued(config(0, seed=s), confirms="t000") for s in (1, 2)]
    plan = {"queue": queue, "trials": 9, "role": "confirm"}
    assert drain(dispatcher(storage, **plan), storage, stop_after=1) == ["c000", "c001"]
    assert drain(dispatcher(storage, **plan), storage) == ["c001"]
    confirmed = Ledger(storage).records("confirm")
    assert [(r.confirms, r.config.seed, r.start) for r in confirmed] == [("t000", 1, False), ("t000", 2, False)]


def test_overhead_is_from_the_free_slot_to_training_and_from_the_report_to_the_record(storage):
    import time

    d = dispatcher(storage, Recorder())
    trial = next_trial(d)
    now = time.time()
    d.on_training(trial.trial_id, now + 3.0)
    write_result(storage, trial)
    record = d.end(trial.trial_id, at=now - 2.0)
    assert record.overhead_s == pytest.approx(5.0, abs=0.5)


# ---------------------------------------------------------------- stop rules


class Asked:
    """A rule that records its inputs, and stops the trials it was observed to."""

    def __init__(self, *stops: str):
        self.stops = stops
        self.shown: dict[str, tuple[list[str], list[str]]] = {}

    def __call__(self, standing):
        trial_id = standing.trial.trial_id
        self.shown[trial_id] = ([r.trial_id for r in standing.ended], sorted(standing.live))
        assert standing.known_cost(standing.trial.config) == 2.0
        return "seen enough" if trial_id in self.stops else ""


def at(fraction: float, f1: float = 0.5) -> CurvePoint:
    return CurvePoint(fraction=fraction, f1=f1, loss=1.0, train_s=fraction)


def ruled(storage, rule, **options):
    return dispatcher(storage, Recorder(), rule=rule, known_cost=lambda config: 2.0, **options)


@pytest.mark.parametrize("order", [min, max])
def test_in_deterministic_order_a_rule_sees_what_the_proposal_saw(storage, order):
    """Whatever the order in which trials end, and however far those beside it are."""
    rule, live = Asked(), {}
    d = ruled(storage, rule, queue=[Queued(config(50 + i)) for i in range(3)], trials=10, slots=3)
    while True:
        while isinstance(trial := next_trial(d), StartedTrial):
            live[trial.trial_id] = trial
        if not live:
            break
        chosen = live.pop(order(live))
        d.on_point(chosen.trial_id, at(1 / 3))
        assert d.reason_to_stop(chosen.trial_id) == ""
        write_result(storage, chosen)
        d.end(chosen.trial_id)
    expected = {f"t{n:03d}": ([f"t{i:03d}" for i in range(n - 3 + 1)] if n >= 3 else [], []) for n in range(10)}
    assert rule.shown == expected


def test_otherwise_a_rule_sees_all_that_has_ended_and_runs(storage):
    rule = Asked()
    d = ruled(storage, rule, slots=3, is_deterministic=False)
    first, second, third = next_trial(d), next_trial(d), next_trial(d)
    write_result(storage, first)
    d.end(first.trial_id)
    d.on_point(third.trial_id, at(1 / 3))
    d.reason_to_stop(third.trial_id)
    assert rule.shown == {"t002": (["t000"], ["t001"])}
    assert second.trial_id == "t001"


def test_the_rule_is_not_called_at_the_end_of_a_trial_or_for_one_that_is_not_running(storage):
    rule = Asked("t000")
    d = ruled(storage, rule)
    trial = next_trial(d)
    assert d.reason_to_stop(trial.trial_id) == ""
    d.on_point(trial.trial_id, at(1.0))
    assert d.reason_to_stop(trial.trial_id) == ""
    assert d.reason_to_stop("t099") == ""
    assert rule.shown == {}


def test_a_stopped_trial_is_final_keeps_its_curve_and_is_charged_with_what_its_sessions_noted(storage):
    d = ruled(storage, Asked("t000"), slots=1)
    trial = next_trial(d)
    state = storage.child("trials", "t000", "state")
    put_usage(state, "a", Usage(core_s=3.0, wall_s=4.0, peak_bytes=7))
    put_usage(state, "b", Usage(core_s=0.5, wall_s=1.0, peak_bytes=5))
    d.on_point(trial.trial_id, at(1 / 3))
    record = d.end(trial.trial_id, stopped=d.reason_to_stop(trial.trial_id))
    assert (record.status, record.reason, record.curve) == (TrialStatus.STOPPED, "seen enough", [at(1 / 3)])
    assert record.usage == Usage(core_s=3.5, wall_s=5.0, peak_bytes=7)
    assert record.training_usd == pytest.approx(3.5e-5)
    assert storage.folders("trials/t000") == []
    again = ruled(storage, Asked(), slots=1)
    assert next_trial(again).trial_id == "t001"


def test_a_stopped_trial_without_notes_is_charged_with_its_cores(storage):
    import time

    d = ruled(storage, Asked("t000"), cores_per_trial=4.0)
    trial = next_trial(d)
    d.on_training(trial.trial_id, time.time() - 10.0)
    d.on_point(trial.trial_id, at(1 / 3))
    record = d.end(trial.trial_id, stopped="seen enough")
    assert record.usage.core_s == pytest.approx(40.0, rel=0.2)
    assert record.usage.core_s == pytest.approx(4.0 * record.usage.wall_s)


def test_a_worker_that_was_started_again_repeats_points_once_in_the_curve(storage):
    d = ruled(storage, Asked())
    trial = next_trial(d)
    for fraction in (0.0, 1 / 3, 2 / 3):
        d.on_point(trial.trial_id, at(fraction))
    d.interrupted(trial.trial_id, KILLED)
    assert next_trial(d).trial_id == trial.trial_id
    for fraction in (0.0, 1 / 3):
        d.on_point(trial.trial_id, at(fraction, f1=0.6))
    record = d.end(trial.trial_id, stopped="seen enough")
    assert record.curve == [at(0.0, 0.6), at(1 / 3, 0.6)]
    assert record.attempt == 2
