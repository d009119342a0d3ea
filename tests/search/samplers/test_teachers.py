"""Distilled trials: who teaches them, when they are offered at all, and that a resume changes neither."""

from pathlib import Path

import pytest

from lft_ray.cost.budget import Verdict
from lft_ray.records import ScoredVariant, TrialConfig, TrialResult, TrialStatus, Usage
from lft_ray.run.ledger import Ledger, StartedTrial
from lft_ray.run.storage import Storage
from lft_ray.search.dispatcher import Dispatcher
from lft_ray.search.interfaces import Queued, StudyPlan
from lft_ray.search.samplers.teachers import Teachers, WithTeachers
from tests.search.driver import price
from tests.search.test_dispatcher import Recorder, Wallet, config, next_trial, write_result
from tests.search.trivial import COSTS

SMALL, MIDDLE, LARGE = "tiny:1", "tiny:2", "tiny:4"
TEACHERS = Teachers(COSTS.__getitem__)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path)


def dispatcher(storage, proposer, *, queue=(), trials=8, slots=2, admission=None):
    plan = StudyPlan(queue=tuple(queue), trials=trials, slots=slots)
    return Dispatcher(Ledger(storage), plan, WithTeachers(proposer, TEACHERS), price, admission)


def sized(size: str, number: int, method: str = "full") -> TrialConfig:
    return config(number).model_copy(update={"model_size": size, "method": method})


class Distils(Recorder):
    """Wants every size distilled, the largest too; full training of the same is its second choice."""

    def propose(self, n, observed, pending, fits=None):
        self.seen[n] = ([r.trial_id for r in observed], len(pending))
        sizes = [SMALL, MIDDLE, LARGE]
        wanted = [sized(sizes[n % 3], n, method) for method in ("distill", "full")]
        return next((c for c in wanted if fits is None or fits(c)), None)


def teach(d: Dispatcher, storage, order=min, stop_after=10**9) -> None:
    """As `drain`, with scores that differ: the later the number, the better, but for every third trial."""
    live, ended = {}, 0
    while ended < stop_after:
        while isinstance(trial := next_trial(d), StartedTrial):
            live[trial.trial_id] = trial
        if not live:
            break
        chosen = live.pop(order(live))
        f1 = 0.5 + 0.01 * chosen.number - (0.2 if chosen.number % 3 == 1 else 0.0)
        write_result(storage, chosen, variants=[ScoredVariant(precision="fp32", max_length=128, f1=f1)])
        d.end(chosen.trial_id)
        ended += 1


def test_nothing_is_distilled_without_a_teacher(storage):
    # Proposals go through small, middle, large: until the large one has ended there is nobody to teach a small one.
    teach(dispatcher(storage, Distils(), trials=6, slots=1), storage)
    assert [r.config.teacher for r in Ledger(storage).records()] == ["", "", "", "t002", "t002", ""]
    assert [r.config.method for r in Ledger(storage).records()] == ["full"] * 3 + ["distill"] * 2 + ["full"]


def test_the_teacher_is_the_best_finished_trial_that_is_more_expensive_to_serve(storage):
    queue = [Queued(sized(size, i)) for i, size in enumerate([SMALL, LARGE, MIDDLE, LARGE])]
    d = dispatcher(storage, Distils(), queue=queue, trials=9, slots=1)
    teach(d, storage)
    records = {r.trial_id: r.config for r in Ledger(storage).records()}
    assert all(records[i].method == "full" for i in ("t000", "t001", "t002", "t003"))
    # t004 wants middle: t003 (large) is better than t001. t005 wants large: there is nothing above it.
    assert (records["t004"].model_size, records["t004"].method, records["t004"].teacher) == (MIDDLE, "distill", "t003")
    assert (records["t005"].model_size, records["t005"].method, records["t005"].teacher) == (LARGE, "full", "")
    # t006 wants small: the best of all larger ones is t005.
    assert (records["t006"].model_size, records["t006"].teacher) == (SMALL, "t005")
    # t008 is large again; t007 (middle) learned from t005, though t006 (small) came after.
    assert (records["t007"].model_size, records["t007"].teacher) == (MIDDLE, "t005")


@pytest.mark.parametrize("ending", ["failed", "stopped", "infeasible"])
def test_only_finished_trials_teach(storage, ending):
    d = dispatcher(storage, Distils(), queue=[Queued(sized(LARGE, 9))], trials=2, slots=1)
    first = next_trial(d)
    write_result(storage, first, status=ending, variants=[])
    d.end(first.trial_id)
    assert next_trial(d).config.method == "full"


def test_a_trial_that_is_not_observed_yet_does_not_teach(storage):
    d = dispatcher(storage, Distils(), queue=[Queued(sized(LARGE, 7)), Queued(sized(LARGE, 8))], trials=5, slots=2)
    first, second = next_trial(d), next_trial(d)
    # The second ends first, and is better. Proposal 2 (large) and 3 (small) see what their number allows, no more.
    for trial, f1 in ((second, 0.9), (first, 0.8)):
        write_result(storage, trial, variants=[ScoredVariant(precision="fp32", max_length=128, f1=f1)])
        d.end(trial.trial_id)
    third, fourth = next_trial(d), next_trial(d)
    assert d.proposer.proposer.seen[2][0] == ["t000"]
    assert (third.config.model_size, third.config.teacher) == (LARGE, "")
    assert (fourth.config.model_size, fourth.config.teacher) == (SMALL, "t001")
    sole = TEACHERS.assign(sized(SMALL, 1, "distill"), [d.ledger.get("t000")])
    assert sole.teacher == "t000"


@pytest.mark.parametrize("killed_after", range(4, 9))
def test_the_same_teacher_after_resume(tmp_path, killed_after):
    whole, broken = Storage(tmp_path / "whole"), Storage(tmp_path / "broken")
    plan = {
        "queue": [Queued(sized(size, i)) for i, size in enumerate([SMALL, MIDDLE, LARGE])],
        "trials": 10,
    }
    teach(dispatcher(whole, Distils(), **plan), whole)
    teach(dispatcher(broken, Distils(), **plan), broken, max, stop_after=killed_after)
    teach(dispatcher(broken, Distils(), **plan), broken)
    calm = [r.config for r in Ledger(whole).records()]
    assert [r.config for r in Ledger(broken).records()] == calm
    assert len({c.teacher for c in calm}) > 2


def test_an_unfinished_distilled_trial_keeps_its_teacher(storage):
    plan = {"queue": [Queued(sized(LARGE, 9))], "trials": 3, "slots": 1}
    first = dispatcher(storage, Distils(), **plan)
    teach(first, storage, stop_after=1)
    trial = next_trial(first)
    assert trial.config.teacher == "t000"
    again = next_trial(dispatcher(storage, Distils(), **plan))
    assert (again.attempt, again.config) == (2, trial.config)


def test_the_budget_is_checked_for_the_configuration_with_its_teacher(storage):
    class NoTeachers(Wallet):
        def verdict(self, config, role):
            return Verdict(not config.teacher, "the teacher's pass is too expensive")

    d = dispatcher(
        storage,
        Distils(),
        queue=[Queued(sized(LARGE, 9))],
        trials=3,
        slots=1,
        admission=NoTeachers(9),
    )
    teach(d, storage)
    assert [r.config.method for r in Ledger(storage).records()] == ["full"] * 3


def record(trial_id: str, size: str, f1: float, *shorter: float, role: str = "search"):
    variants = [ScoredVariant(precision="fp32", max_length=128, f1=f1)]
    variants += [ScoredVariant(precision="fp32", max_length=32, f1=value) for value in shorter]
    result = TrialResult(
        trial_id=trial_id,
        attempt=1,
        config=sized(size, 0),
        status=TrialStatus.DONE,
        usage=Usage(),
        variants=variants,
    )
    trial = StartedTrial(trial_id=trial_id, number=0, config=result.config, role=role)
    return price(result, trial)


def teacher_of(size: str, *observed) -> str | None:
    taught = TEACHERS.assign(sized(size, 0, "distill"), observed)
    return None if taught is None else taught.teacher


def test_teachers_are_compared_at_the_reference_variant_and_the_earliest_of_equals_teaches():
    best, second = record("t010", LARGE, 0.9), record("t009", MIDDLE, 0.8, 0.99)
    assert teacher_of(SMALL, second, best) == "t010"
    assert teacher_of(SMALL, best, record("t002", MIDDLE, 0.9)) == "t002"
    assert teacher_of(MIDDLE, second) is None
    assert teacher_of(LARGE, best, second) is None
    # A run with a fresh seed is for the decision alone.
    assert teacher_of(SMALL, record("c000", LARGE, 0.95, role="confirm"), second) == "t009"


def test_what_is_not_distilled_needs_no_teacher():
    assert TEACHERS.assign(sized(LARGE, 0), []) == sized(LARGE, 0)
