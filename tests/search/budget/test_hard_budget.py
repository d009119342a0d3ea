"""No study spends more than its budget, whatever its trials do: slow, failing, dying, stopped by what they may use.

Simulated trials on a simulated clock drive the real `Dispatcher`, `BudgetAdmission`, `Budget` and `Forecast`. A trial's
dollars are counted here by what it truly used, dead workers included, and not by what its record says.
"""

import heapq
import tempfile
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lft_ray.causes import EndCause, Fault
from lft_ray.cost.budget import Budget
from lft_ray.cost.dollars import training_usd
from lft_ray.cost.forecast import Forecast, Rate
from lft_ray.cost.prices import Price
from lft_ray.records import TrialConfig, TrialRecord, TrialResult, TrialStatus, Usage
from lft_ray.run.ledger import Ledger, StartedTrial
from lft_ray.run.storage import Storage
from lft_ray.search import dispatcher as dispatcher_module
from lft_ray.search import running_trial as live_module
from lft_ray.search.budget.admission import BudgetAdmission
from lft_ray.search.dispatcher import Dispatcher
from lft_ray.search.interfaces import Queued, StudyPlan
from lft_ray.search.running_trial import NOTE_INTERVAL_S
from lft_ray.train.device.usage_notes import STATE, put_usage

PRICE = Price("p", 0.01, 0.0, 0.01, 0.0, as_of="now", source="test")
WORK = {"m:1": 10.0, "m:2": 30.0, "m:4": 100.0}
"""FLOPs of a whole trial, at one a second as the forecast guesses."""
RETRIES = 2


class Clock:
    """Stands in for the dispatcher's ``time`` module."""

    def __init__(self):
        self.now = 1000.0

    def time(self):
        return self.now


fates = st.fixed_dictionaries(
    {
        "size": st.sampled_from(sorted(WORK)),
        "slowness": st.floats(0.2, 12.0),
        "deaths": st.lists(st.floats(0.0, 1.0), max_size=RETRIES),
        "saves": st.booleans(),
        "end": st.sampled_from(["done", "done", "error", "silent"]),
    }
)


def price(result: TrialResult, trial: StartedTrial) -> TrialRecord:
    fields = {name: getattr(result, name) for name in TrialResult.model_fields}
    return TrialRecord(**fields, role=trial.role, training_usd=training_usd(result.usage, PRICE))


class World:
    """Runs what the dispatcher hands out, one core a trial, and keeps the true bill."""

    def __init__(self, storage, budget_usd, fates, slots, confirmation_fraction, obeys=True):
        self.clock, self.storage, self.fates, self.obeys = Clock(), storage, fates, obeys
        self.budget = Budget(budget_usd=budget_usd, confirmation_fraction=confirmation_fraction)
        self.admission = BudgetAdmission(
            self.budget,
            Forecast({"cpu": Rate(start_s=0.0, flops_per_s=1.0)}),
            PRICE,
            work=lambda config: WORK[config.model_size],
            device=lambda config: "cpu",
            retries=RETRIES,
            lost_s=5.0,
            clock=self.clock.time,
        )
        self.ledger = Ledger(storage)
        queue = tuple(Queued(TrialConfig(model_size=fate["size"], seed=i)) for i, fate in enumerate(fates))
        self.dispatcher = Dispatcher(
            self.ledger, StudyPlan(queue=queue, trials=len(queue), slots=slots, is_deterministic=False), None, price,
            self.admission,
        )  # fmt: skip
        self.events: list[tuple[float, str]] = []
        self.used: dict[str, float] = {}
        """Trial -> true core seconds of the attempts that are over."""
        self.saved: dict[str, float] = {}
        self.dead: dict[str, int] = {}

    def run(self):
        with patch.object(dispatcher_module, "time", self.clock), patch.object(live_module, "time", self.clock):
            while True:
                trial = self.dispatcher.next()
                if isinstance(trial, StartedTrial):
                    self.begin(trial)
                elif self.events:
                    self.end_next()
                else:
                    break
                self.check()
            self.dispatcher.close()
        return self

    def begin(self, trial):
        seconds, _ = self.attempt(trial)
        heapq.heappush(self.events, (self.clock.now + seconds, trial.trial_id))

    def attempt(self, trial) -> tuple[float, str]:
        """Core seconds of this attempt, and how it ends."""
        fate = self.fates[trial.config.seed]
        whole = WORK[trial.config.model_size] * fate["slowness"]
        died = self.dead.get(trial.trial_id, 0)
        seconds, how = whole - self.saved.get(trial.trial_id, 0.0), fate["end"]
        if died < len(fate["deaths"]):
            seconds, how = seconds * fate["deaths"][died], "dies"
        allowance = trial.allowance
        if self.obeys and allowance is not None:
            # As a worker counts: what it carries on from, or what the driver says was used, whichever is more.
            before = max(self.saved.get(trial.trial_id, 0.0), allowance.used_core_s)
            left = max(0.0, allowance.core_s - before)
            if seconds > left:
                seconds, how = left, "usage limit"
        return seconds, how

    def end_next(self):
        at, trial_id = heapq.heappop(self.events)
        trial = next(t for t in self.dispatcher.live if t.trial_id == trial_id)
        self.clock.now = at
        seconds, how = self.attempt(trial)
        self.used[trial_id] = self.used.get(trial_id, 0.0) + seconds
        if how == "dies":
            self.dead[trial_id] = self.dead.get(trial_id, 0) + 1
            if self.fates[trial.config.seed]["saves"]:
                # A worker records its usage every five seconds, and the next one carries on from there.
                noted = max(0.8 * seconds, seconds - NOTE_INTERVAL_S)
                self.saved[trial_id] = self.saved.get(trial_id, 0.0) + noted
                state = self.storage.child("trials", trial_id, STATE)
                put_usage(state, str(trial.attempt), Usage(core_s=noted, wall_s=noted))
            self.dispatcher.interrupted(trial_id, Fault(cause=EndCause.WORKER_KILLED, message="killed"))
            return
        busy = self.saved.get(trial_id, 0.0) + seconds
        if how != "silent":
            status = {"done": TrialStatus.DONE, "usage limit": TrialStatus.STOPPED}.get(how, TrialStatus.FAILED)
            result = TrialResult(
                trial_id=trial_id, attempt=trial.attempt, config=trial.config, status=status,
                usage=Usage(core_s=busy, wall_s=busy),
            )  # fmt: skip
            self.storage.child("trials", trial_id).put(f"result-{trial.attempt}.json", result.model_dump_json())
        self.dispatcher.end(trial_id, reason="no result" if how == "silent" else "")

    def true_usd(self) -> float:
        running = {trial_id: at for at, trial_id in self.events}
        under_way = 0.0
        for trial in self.dispatcher.live:
            if trial.trial_id in running:
                seconds, _ = self.attempt(trial)
                under_way += seconds - (running[trial.trial_id] - self.clock.now)
        return (sum(self.used.values()) + under_way) * PRICE.training_usd_per_core_s

    def check(self):
        limit = self.budget.budget_usd * (1 - self.budget.confirmation_fraction) + 1e-6
        assert self.true_usd() <= limit
        assert self.budget.spent_usd + self.budget.reserved_usd <= limit


def world(budget_usd, fates, slots=2, confirmation_fraction=0.0, obeys=True):
    with tempfile.TemporaryDirectory() as folder:
        return World(Storage(folder), budget_usd, fates, slots, confirmation_fraction, obeys).run()


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    fates=st.lists(fates, min_size=1, max_size=8),
    budget_usd=st.floats(0.3, 20.0),
    slots=st.integers(1, 3),
    confirmation_fraction=st.sampled_from([0.0, 0.3]),
)
def test_the_true_bill_never_exceeds_the_budget(fates, budget_usd, slots, confirmation_fraction):
    ended = world(budget_usd, fates, slots, confirmation_fraction)
    # What the records say is never less than what was truly used.
    recorded = sum(record.training_usd for record in ended.ledger.records())
    assert recorded == pytest.approx(ended.budget.spent_usd)
    assert recorded >= ended.true_usd() - 1e-6
    assert ended.budget.reserved_usd == 0


def fate(size="m:1", slowness=1.0, deaths=(), saves=False, end="done"):
    return {"size": size, "slowness": slowness, "deaths": list(deaths), "saves": saves, "end": end}


def test_without_the_allowance_one_slow_trial_breaks_the_budget():
    with pytest.raises(AssertionError):
        world(0.7, [fate(slowness=12.0)], obeys=False)


def test_a_trial_slower_than_its_promise_is_stopped_and_recorded():
    ended = world(0.7, [fate(slowness=12.0)])
    (record,) = ended.ledger.records()
    assert record.status is TrialStatus.STOPPED
    # 10 s guessed, three times that at worst, and 5 s lost in each of two retries.
    assert record.training_usd == pytest.approx(0.6)


def test_the_next_promise_is_larger_after_an_overrun():
    ended = world(1e6, [fate(slowness=9.0), fate(slowness=9.0)], slots=1)
    assert [r.status for r in ended.ledger.records()] == [TrialStatus.STOPPED, TrialStatus.DONE]


def test_what_a_dead_worker_did_not_save_is_paid_for():
    ended = world(10.0, [fate(deaths=[0.5])])
    (record,) = ended.ledger.records()
    assert (record.status, record.usage.core_s) == (TrialStatus.DONE, pytest.approx(15.0))
    saving = world(10.0, [fate(deaths=[0.5], saves=True)])
    assert saving.ledger.records()[0].usage.core_s == pytest.approx(4.0 + 1.0 + 6.0)


def test_without_a_budget_nothing_is_limited():
    with tempfile.TemporaryDirectory() as folder:
        lone = World(Storage(folder), None, [fate()], 1, 0.0)
        assert lone.dispatcher.next().allowance is None
        lone.dispatcher.close()
