"""Decide which trial starts next, and record how trials end. Free of Ray and of Optuna's objects.

In: the ledger, a plan, a proposer. Out: `StartedTrial` to run, records in the ledger. All state can be rebuilt from the
ledger, so that the driver may crash between any two lines. Never trains, never computes prices itself.
"""

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Literal

from lft_ray.causes import EndCause, Fault
from lft_ray.records import CurvePoint, TrialConfig, TrialRecord, TrialResult, TrialStatus, Usage, now_utc
from lft_ray.run.ledger import Ledger, StartedTrial
from lft_ray.run.storage import Storage
from lft_ray.search.budget.admission import Admission, AlwaysAdmit
from lft_ray.search.endings import Endings
from lft_ray.search.interfaces import Listener, NullListener, ProposerProtocol, StudyPlan
from lft_ray.search.running_trial import RunningTrial, unfinished_result
from lft_ray.search.stopping.base import TrialSnapshot
from lft_ray.train.device.usage_notes import STATE, clear, noted_usage

__all__ = ["Dispatcher", "Next"]

Next = StartedTrial | Literal["wait", "finished"]
PROPOSAL_WAIT_S = 1.0
"""How long to block on a proposal (0.6 s with the GP on two cores) before reports of running trials are processed. Not
0: Tune would give the idle worker to a trial that another worker is starting for, and would stop that worker."""


class Dispatcher:
    """Hands out trials and records their results.

    Args:
        ledger: ledger of the run; results without a record must already have been adopted.
        plan: trials to run.
        proposer: proposes configurations once the queue is empty; None: only the queue is run.
        price: turns a worker's result into a priced record.
        admission: checks the budget before each start.
        listener: receives starts, curve points and records.
        endings: decides on trials that the machine ended; default: without a look at memory.
    """

    def __init__(
        self,
        ledger: Ledger,
        plan: StudyPlan,
        proposer: ProposerProtocol | None,
        price: Callable[[TrialResult, StartedTrial], TrialRecord],
        admission: Admission | None = None,
        listener: Listener | None = None,
        *,
        endings: Endings | None = None,
    ) -> None:
        self.ledger = ledger
        self.plan = plan
        self.proposer = proposer
        self.price = price
        self.admission = admission or AlwaysAdmit()
        self.listener = listener or NullListener()
        self.endings = endings or Endings(ledger.storage.uri, plan.memory_bytes)
        self.end_reason = ""
        """Why no more trials are started; empty while there may be more."""
        self.refusal = ""
        """Why the first configuration that was refused did not start."""
        self.refusals: dict[str, str] = {}
        """Model size -> why its queued configuration did not start."""
        self._live: dict[str, RunningTrial] = {}
        self._again: deque[RunningTrial] = deque()
        """Trials that the machine ended, to be handed out before any other."""
        self._cut_off: list[StartedTrial] = []
        self._unfinished = deque(ledger.unfinished(plan.role))
        started = ledger.started(plan.role)
        # A resumed search keeps its original lag: on a machine with more slots it must still propose the same trials.
        self._lag = started[0].lag if started else plan.slots
        self._slots = min(plan.slots, self._lag) if plan.is_deterministic else plan.slots
        self._free_since = [time.time()] * self._slots
        # A separate thread: a proposal made in Tune's own thread would block the reports of running trials.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="proposer")
        self._proposal: Future[TrialConfig | None] | None = None
        self._proposed_while_live = False
        self._waits_for_budget = False
        self._queue = deque(plan.remaining_queue(started))
        if proposer is not None and len(started) < plan.trials:
            self._thread.submit(proposer.warm_up)

    @property
    def live(self) -> list[StartedTrial]:
        """Trials that are running."""
        return [live.trial for live in self._live.values()]

    @property
    def is_over(self) -> bool:
        """Whether nothing is running, nothing waits to run again, and nothing more will be started."""
        return bool(self.end_reason) and not self._live and not self._again

    def next(self) -> Next:
        """The next trial to run; ``wait`` for a slot or a result; ``finished`` when no more will be started."""
        if any(live.is_alone for live in self._live.values()):
            return "wait"
        if self._again:
            return self._start_again()
        if self.end_reason:
            return "finished"
        if len(self._live) >= self._slots:
            return "wait"
        if self._unfinished:
            return self._restart_unfinished()
        if self._queue:
            return self._start_queued()
        return self._start_proposed()

    def interrupted(self, trial_id: str, fault: Fault) -> TrialRecord | None:
        """Handle a trial that ended without a result because of its machine.

        It is handed out again under its ID, from its last saved state. Its reservation stays.

        Returns:
            Its record, if it failed for good or had written its result; None if it runs again.

        Raises:
            LftError: every other trial would meet the same; this one stays unfinished.
        """
        if self.ledger.result(trial_id, self._live[trial_id].trial.attempt) is not None:
            return self.end(trial_id)  # it died after its work was done
        live, others = self._live[trial_id], [o for i, o in self._live.items() if i != trial_id]
        del self._live[trial_id]
        self._free_since = [time.time()] * (self._slots - len(self._live))
        notes = [noted_usage(self._folder(o.trial).child(STATE)) or Usage() for o in (live, *others)]
        verdict = self.endings.judge(fault, live, others, max(note.peak_bytes for note in notes))
        if verdict.action == "failed":
            self._live[trial_id] = live
            self._free_since.pop()
            return self.end(trial_id, reason=verdict.text, cause=verdict.cause)
        live.lose(notes[0])
        self._again.append(live)
        self.listener.on_note(verdict.text)
        return None

    def diagnose(self, reason: str) -> Fault:
        """The fault behind the words with which Ray reports a dead worker."""
        return self.endings.diagnose(reason)

    def on_placed(self, trial_id: str) -> None:
        """Record that a worker is there for a trial."""
        if (live := self._live.get(trial_id)) is not None and live.placed_at is None:
            live.placed_at = time.time()
            self.listener.on_placed(trial_id)

    def on_training(self, trial_id: str, at: float) -> None:
        """Record when a worker began training a trial (seconds since the epoch)."""
        if (live := self._live.get(trial_id)) is not None and live.training_at is None:
            live.training_at = at

    def on_point(self, trial_id: str, point: CurvePoint) -> None:
        """Add a point to a running trial's learning curve."""
        if (live := self._live.get(trial_id)) is not None:
            live.note(point)
            self.ledger.note_curve(trial_id, live.curve)
            self.listener.on_point(trial_id, point)

    def reason_to_stop(self, trial_id: str) -> str:
        """Why the plan's early-stopping rule stops a running trial at the last point of its curve; "": it continues.

        At fraction 1.0 the result is already on storage, and stopping would save nothing.
        """
        live = self._live.get(trial_id)
        if live is None or self.plan.rule is None or not live.curve or live.curve[-1].fraction >= 1.0:
            return ""
        return self.plan.rule(self._snapshot(live))

    def _snapshot(self, live: RunningTrial) -> TrialSnapshot:
        """The rule's view of the search: in deterministic mode, only the trials that the trial's proposal was based on.

        How far concurrent trials have come depends on timing, so they are hidden there. A start trial sees none.
        """
        trial, ended = live.trial, self.ledger.records("search")
        others = {i: (other.trial, tuple(other.curve)) for i, other in self._live.items() if other is not live}
        if self.plan.is_deterministic:
            last = -1 if trial.start else trial.number - self._lag
            known = {other.trial_id for other in self.ledger.started("search") if other.number <= last}
            ended, others = [record for record in ended if record.trial_id in known], {}
        return TrialSnapshot(trial, tuple(live.curve), ended, others, self.plan.known_cost)

    def end(
        self,
        trial_id: str,
        *,
        reason: str = "",
        cause: EndCause | None = None,
        result: TrialResult | None = None,
        at: float = 0.0,
        stopped: str = "",
    ) -> TrialRecord:
        """Write a trial's record from the result on storage, before the admission and the listener are notified.

        Args:
            trial_id: ID of a running trial.
            reason: why the trial failed, if it left no result.
            cause: what made it fail, if it left no result; default: its configuration.
            result: result that the worker reported, used when its file could not be written.
            at: when the worker finished, in seconds since the epoch.
            stopped: why a rule stopped the trial at the last point of its curve.
        """
        live = self._live[trial_id]
        trial = live.trial
        found = self.ledger.result(trial_id, trial.attempt) or result
        if found is None:
            found = self._without_result(live, reason, stopped, cause)
            self._cut_off.append(trial)
        elif found.status is TrialStatus.FAILED and found.usage == Usage():
            found = found.replace(usage=live.charged(self._noted(trial)))
        else:
            found = found.replace(usage=live.with_lost(found.usage))
        record = self.price(found, trial).replace(overhead_s=live.overhead_s(at))
        self.ledger.put(record)
        if stopped:
            clear(self._folder(trial))
        del self._live[trial_id]
        self._waits_for_budget = False
        # Idle slots were waiting for this end (trial order, budget), so their wait so far is not scheduling overhead.
        self._free_since = [time.time()] * (self._slots - len(self._live))
        self.admission.settle(record)
        self.listener.on_record(record)
        return record

    def close(self) -> None:
        """Shut down the proposer's thread, and delete state that workers without a result may have written late."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        for trial in self._cut_off:
            clear(self._folder(trial))
        self._cut_off.clear()

    # ------------------------------------------------------------ starting

    def _start_again(self) -> Next:
        live = self._again[0]
        config = live.trial.config
        if time.time() < live.not_before or (live.is_alone and self._live) or not self._has_room(config):
            return "wait"
        self._again.popleft()
        live.trial = live.trial.replace(
            attempt=live.trial.attempt + 1, started_at=now_utc(), allowance=live.allowance_left()
        )
        live.begun_at, live.free_since = time.time(), self._free_since.pop()
        self.ledger.start(live.trial)
        self._live[live.trial.trial_id] = live
        self.listener.on_start(live.trial)
        return live.trial

    def _has_room(self, config: TrialConfig) -> bool:
        """Whether memory, as far as deaths have shown, holds a trial of this configuration beside those that run."""
        needs = self.plan.memory_bytes
        return self.endings.crowding.has_room(needs(config), [needs(live.trial.config) for live in self._live.values()])

    def _restart_unfinished(self) -> Next:
        trial = self._unfinished[0]
        if self.admission.verdict(trial.config, trial.role):
            if not self._has_room(trial.config):
                return "wait"
            self._unfinished.popleft()
            return self._start(trial.replace(attempt=trial.attempt + 1))
        if self._live:
            return "wait"
        # Started once but no longer affordable: recorded in the ledger, or every resume would try the trial again.
        self._unfinished.popleft()
        reason = f"not continued: {self.admission.verdict(trial.config, trial.role).reason}"
        record = self.price(unfinished_result(trial, TrialStatus.STOPPED, reason, [], Usage()), trial)
        self.ledger.put(record)
        self.listener.on_record(record)
        return self.next()

    def _start_queued(self) -> Next:
        if self._count() >= self.plan.trials:
            return self._finish("all trials have been started")
        queued = self._queue[0]
        verdict = self.admission.verdict(queued.config, self.plan.role)
        if (not verdict and self._live) or (verdict and not self._has_room(queued.config)):
            return "wait"
        self._queue.popleft()
        if not verdict:
            self.refusal = self.refusal or f"{queued.config.model_size}: {verdict.reason}"
            self.refusals[queued.config.model_size] = verdict.reason
            # A more expensive size may exceed the budget where a cheaper one, or a shorter schedule, still fits.
            return self.next() if self._queue or self.proposer else self._finish(verdict.reason)
        return self._start(self._new(queued.config, queued.confirms, start=self.plan.role == "search"))

    def _start_proposed(self) -> Next:
        n = self._count()
        if self.proposer is None or n >= self.plan.trials:
            return self._finish("all trials have been started")
        if self._proposal is None:
            if self._waits_for_budget:
                return "wait"
            visible = self._visible(n)
            if visible is None:
                return "wait"
            ended_trials, pending = visible
            self._proposed_while_live = bool(self._live)
            self._proposal = self._thread.submit(self.proposer.propose, n, ended_trials, pending, self._fits)
            wait([self._proposal], timeout=PROPOSAL_WAIT_S)
        if self._live and not self._proposal.done():
            return "wait"
        config = self._proposal.result()
        if config is not None and not self._has_room(config):
            return "wait"
        self._proposal = None
        if config is not None and self._fits(config):
            return self._start(self._new(config))
        if self._live:
            # Each running trial has its worst case reserved; what it does not use may be enough for the next.
            self._waits_for_budget = True
            return "wait"
        if self._proposed_while_live:
            return self._start_proposed()
        return self._finish("no untried configuration fits the remaining budget")

    def _visible(self, n: int) -> tuple[list[TrialRecord], list[TrialConfig]] | None:
        """Ended trials and pending configurations for proposal n; None while a trial that it must see is running."""
        ended = {record.trial_id: record for record in self.ledger.records(self.plan.role)}
        ended_trials, pending = [], []
        for trial in self.ledger.started(self.plan.role):
            must_see = self.plan.is_deterministic and trial.number <= n - self._lag
            may_see = must_see or not self.plan.is_deterministic
            if trial.trial_id in ended and may_see:
                ended_trials.append(ended[trial.trial_id])
            elif must_see:
                return None
            else:
                pending.append(trial.config)
        return ended_trials, pending

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
        self._live[trial.trial_id] = RunningTrial(
            trial,
            free_since=self._free_since.pop(),
            begun_at=time.time(),
            cores=self.plan.cores_per_trial,
            devices=self.plan.devices_per_trial,
        )
        self.listener.on_start(trial)
        return trial

    def _finish(self, reason: str) -> Literal["finished"]:
        self.end_reason = reason
        return "finished"

    # ------------------------------------------------------------ ending

    def _without_result(self, live: RunningTrial, reason: str, stopped: str, cause: EndCause | None) -> TrialResult:
        noted = self._noted(live.trial)
        # A worker saves its usage before it reports a point, and trials are stopped only at points.
        usage = live.with_lost(noted) if stopped and noted is not None else live.charged(noted)
        status = TrialStatus.FAILED if reason else TrialStatus.STOPPED
        result = unfinished_result(live.trial, status, reason or stopped or "stopped before its end", live.curve, usage)
        return result.replace(cause=cause or EndCause.CONFIGURATION) if reason else result

    def _noted(self, trial: StartedTrial) -> Usage | None:
        return noted_usage(self._folder(trial).child(STATE))

    def _folder(self, trial: StartedTrial) -> Storage:
        return self.ledger.storage.child("trials", trial.trial_id)
