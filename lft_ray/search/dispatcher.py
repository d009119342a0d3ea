"""Which trial starts next, and what becomes of those that end. Free of Ray and of Optuna's objects.

In: the ledger, a plan, a proposer. Out: `StartedTrial` to run, records in the ledger. Everything it knows it can read
back from the ledger, so that a driver may die between any two lines. Never trains, never prices by itself.
"""

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Literal

from lft_ray.records import CurvePoint, TrialConfig, TrialRecord, TrialResult, TrialStatus, Usage, now_utc
from lft_ray.run.ledger import Ledger, StartedTrial
from lft_ray.run.storage import Storage
from lft_ray.search.budget.admission import Admission, AlwaysAdmit
from lft_ray.search.interfaces import Listener, NullListener, ProposerProtocol, StudyPlan
from lft_ray.search.running_trial import RunningTrial, unfinished_result
from lft_ray.search.stopping.base import TrialSnapshot
from lft_ray.train.device.usage_notes import STATE, clear, noted_usage

__all__ = ["Dispatcher", "Next"]

Next = StartedTrial | Literal["wait", "finished"]
PATIENCE_S = 1.0
"""How long a proposal is waited for (0.6 s with the GP on two cores) before running trials may report meanwhile. Not 0:
Tune would give the idle worker to a trial that another worker is starting for, and that one would be stopped."""


class Dispatcher:
    """Hands out trials and writes down how they end.

    Args:
        ledger: of the run; results without a record must have been adopted.
        plan: what to run.
        proposer: asked after the queue; None: only the queue.
        price: turns a worker's result into a record.
        admission: asked before each start.
        listener: told of starts, points and ends.
    """

    def __init__(
        self,
        ledger: Ledger,
        plan: StudyPlan,
        proposer: ProposerProtocol | None,
        price: Callable[[TrialResult, StartedTrial], TrialRecord],
        admission: Admission | None = None,
        listener: Listener | None = None,
    ) -> None:
        self.ledger = ledger
        self.plan = plan
        self.proposer = proposer
        self.price = price
        self.admission = admission or AlwaysAdmit()
        self.listener = listener or NullListener()
        self.end_reason = ""
        """Why no more trials were started; empty while there may be more."""
        self.refusal = ""
        """Why the first configuration that was refused did not start."""
        self._live: dict[str, RunningTrial] = {}
        self._cut_off: list[StartedTrial] = []
        self._unfinished = deque(ledger.unfinished(plan.role))
        started = ledger.started(plan.role)
        # A resumed search keeps the lag it began with: on another machine it must still propose the same trials.
        self._lag = started[0].lag if started else plan.slots
        self._slots = min(plan.slots, self._lag) if plan.is_deterministic else plan.slots
        self._free_since = [time.time()] * self._slots
        # In a thread: running trials wait with their reports while a proposal is made in Tune's own.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="proposer")
        self._asked: Future[TrialConfig | None] | None = None
        self._asked_while_live = False
        self._holds = False
        self._queue = deque(plan.left_of_queue(started))
        if proposer is not None and len(started) < plan.trials:
            self._thread.submit(proposer.warm_up)

    @property
    def live(self) -> list[StartedTrial]:
        """Trials that run now."""
        return [live.trial for live in self._live.values()]

    @property
    def is_over(self) -> bool:
        """Whether nothing is running and nothing more will be started."""
        return bool(self.end_reason) and not self._live

    def next(self) -> Next:
        """The next trial to run; ``wait`` for a slot or a result; ``finished`` when no more will be started."""
        if self.end_reason:
            return "finished"
        if len(self._live) >= self._slots:
            return "wait"
        if self._unfinished:
            return self._again()
        if self._queue:
            return self._next_of_queue()
        return self._proposed()

    def retry(self, trial_id: str) -> int:
        """Note that a trial's worker died and that it is started again. Returns the new attempt."""
        live = self._live[trial_id]
        allowance = live.allowance_left()
        live.trial = live.trial.replace(attempt=live.trial.attempt + 1, started_at=now_utc(), allowance=allowance)
        live.has_died = True
        self.ledger.start(live.trial)
        self.listener.on_start(live.trial)
        return live.trial.attempt

    def on_training(self, trial_id: str, at: float) -> None:
        """Note when a worker began with a trial (seconds since the epoch)."""
        if (live := self._live.get(trial_id)) is not None and live.training_at is None:
            live.training_at = at

    def on_point(self, trial_id: str, point: CurvePoint) -> None:
        """Note a point of a running trial's curve."""
        if (live := self._live.get(trial_id)) is not None:
            live.note(point)
            self.listener.on_point(trial_id, point)

    def reason_to_stop(self, trial_id: str) -> str:
        """Why the plan's rule ends a running trial at the last point of its curve; "" to go on.

        At its end a trial has its result on storage already, and there is nothing left to save.
        """
        live = self._live.get(trial_id)
        if live is None or self.plan.rule is None or not live.curve or live.curve[-1].fraction >= 1.0:
            return ""
        return self.plan.rule(self._standing(live))

    def _standing(self, live: RunningTrial) -> TrialSnapshot:
        """What the rule may know: in deterministic mode, no more than the trial's proposal was made from.

        Which of the trials beside it are further on is a matter of luck there. A start trial was made from nothing.
        """
        trial, ended = live.trial, self.ledger.records("search")
        others = {i: (other.trial, tuple(other.curve)) for i, other in self._live.items() if other is not live}
        if self.plan.is_deterministic:
            last = -1 if trial.start else trial.number - self._lag
            known = {other.trial_id for other in self.ledger.started("search") if other.number <= last}
            ended, others = [record for record in ended if record.trial_id in known], {}
        return TrialSnapshot(trial, tuple(live.curve), ended, others, self.plan.known_cost)

    def end(
        self, trial_id: str, *, reason: str = "", result: TrialResult | None = None, at: float = 0.0, stopped: str = ""
    ) -> TrialRecord:
        """Write a trial's record, from what its worker put on storage, before anyone else hears of its end.

        Args:
            trial_id: a live trial.
            reason: why it failed, should there be no result.
            result: what the worker reported, used when its file could not be written.
            at: when the worker was done, in seconds since the epoch.
            stopped: why a rule stopped it at the last point of its curve.
        """
        live = self._live[trial_id]
        trial = live.trial
        found = self.ledger.result(trial_id, trial.attempt) or result
        if found is None:
            found = self._without_result(live, reason, stopped)
            self._cut_off.append(trial)
        if found.status is TrialStatus.FAILED and found.usage == Usage():
            found = found.replace(usage=live.charged())
        elif live.has_died:
            found = found.replace(usage=live.with_lost(found.usage))
        record = self.price(found, trial).replace(overhead_s=live.overhead_s(at))
        self.ledger.put(record)
        if stopped:
            clear(self._folder(trial))
        del self._live[trial_id]
        self._holds = False
        # An end is also what idle slots were waiting for (trial order, dollars): that is no overhead of ours.
        self._free_since = [time.time()] * (self._slots - len(self._live))
        self.admission.settle(record)
        self.listener.on_record(record)
        return record

    def close(self) -> None:
        """Let go of the proposer's thread, and of what workers that were cut off may still have written."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        for trial in self._cut_off:
            clear(self._folder(trial))
        self._cut_off.clear()

    # ------------------------------------------------------------ starting

    def _again(self) -> Next:
        trial = self._unfinished[0]
        if self.admission.verdict(trial.config, trial.role):
            self._unfinished.popleft()
            return self._start(trial.replace(attempt=trial.attempt + 1))
        if self._live:
            return "wait"
        # It was started once and can't be paid for now: said so in the ledger, or every resume would try it again.
        self._unfinished.popleft()
        reason = f"not continued: {self.admission.verdict(trial.config, trial.role).reason}"
        record = self.price(unfinished_result(trial, TrialStatus.STOPPED, reason, [], Usage()), trial)
        self.ledger.put(record)
        self.listener.on_record(record)
        return self.next()

    def _next_of_queue(self) -> Next:
        if self._count() >= self.plan.trials:
            return self._finish("all trials have been started")
        queued = self._queue[0]
        verdict = self.admission.verdict(queued.config, self.plan.role)
        if not verdict and self._live:
            return "wait"
        self._queue.popleft()
        if not verdict:
            self.refusal = self.refusal or f"{queued.config.model_size}: {verdict.reason}"
            # A dearer size may not fit where a cheaper one, or a shorter schedule of it, still does.
            return self.next() if self._queue or self.proposer else self._finish(verdict.reason)
        return self._start(self._new(queued.config, queued.confirms, start=self.plan.role == "search"))

    def _proposed(self) -> Next:
        n = self._count()
        if self.proposer is None or n >= self.plan.trials:
            return self._finish("all trials have been started")
        if self._asked is None:
            if self._holds:
                return "wait"
            seen = self._seen(n)
            if seen is None:
                return "wait"
            told, pending = seen
            self._asked_while_live = bool(self._live)
            self._asked = self._thread.submit(self.proposer.propose, n, told, pending, self._fits)
            wait([self._asked], timeout=PATIENCE_S)
        if self._live and not self._asked.done():
            return "wait"
        config = self._asked.result()
        self._asked = None
        if config is not None and self._fits(config):
            return self._start(self._new(config))
        if self._live:
            # Each running trial was promised its worst case; what it leaves of that may be enough.
            self._holds = True
            return "wait"
        if self._asked_while_live:
            return self._proposed()
        return self._finish("no configuration is left that is new and fits what is left of the budget")

    def _seen(self, n: int) -> tuple[list[TrialRecord], list[TrialConfig]] | None:
        """What proposal n is made from; None while a trial that it must see still runs."""
        ended = {record.trial_id: record for record in self.ledger.records(self.plan.role)}
        told, pending = [], []
        for trial in self.ledger.started(self.plan.role):
            must_see = self.plan.is_deterministic and trial.number <= n - self._lag
            may_see = must_see or not self.plan.is_deterministic
            if trial.trial_id in ended and may_see:
                told.append(ended[trial.trial_id])
            elif must_see:
                return None
            else:
                pending.append(trial.config)
        return told, pending

    def _fits(self, config: TrialConfig) -> bool:
        return self.admission.verdict(config, self.plan.role).ok

    def _count(self) -> int:
        return len(self.ledger.started(self.plan.role))

    def _new(self, config: TrialConfig, confirms: str = "", *, start: bool = False) -> StartedTrial:
        return StartedTrial(
            trial_id=self.ledger.next_id(self.plan.role),
            number=self._count(),
            config=config,
            role=self.plan.role,
            confirms=confirms,
            start=start,
            lag=self._lag,
        )

    def _start(self, trial: StartedTrial) -> StartedTrial:
        allowance = self.admission.reserve(trial.trial_id, trial.config, trial.role)
        trial = trial.replace(started_at=now_utc(), allowance=allowance)
        self.ledger.start(trial)
        held = (self.plan.cores_per_trial, self.plan.devices_per_trial)
        self._live[trial.trial_id] = RunningTrial(trial, self._free_since.pop(), time.time(), *held)
        self.listener.on_start(trial)
        return trial

    def _finish(self, reason: str) -> Literal["finished"]:
        self.end_reason = reason
        return "finished"

    # ------------------------------------------------------------ ending

    def _without_result(self, live: RunningTrial, reason: str, stopped: str) -> TrialResult:
        usage = live.charged()
        if stopped:
            # A worker notes what it has spent before it reports a point, and a trial is stopped at one.
            usage = noted_usage(self._folder(live.trial).child(STATE)) or usage
        status = TrialStatus.FAILED if reason else TrialStatus.STOPPED
        return unfinished_result(live.trial, status, reason or stopped or "stopped before its end", live.curve, usage)

    def _folder(self, trial: StartedTrial) -> Storage:
        return self.ledger.storage.child("trials", trial.trial_id)
