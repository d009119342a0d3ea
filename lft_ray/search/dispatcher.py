"""Which trial starts next, and what becomes of those that end. Free of Ray and of Optuna's objects.

In: the ledger, a plan, a proposer. Out: `StartedTrial` to run, records in the ledger. Everything it knows it can read
back from the ledger, so that a driver may die between any two lines. Never trains, never prices by itself.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Literal

from lft_ray.ledger import Ledger, StartedTrial
from lft_ray.records import CurvePoint, TrialConfig, TrialRecord, TrialResult, TrialStatus, Usage, now_utc
from lft_ray.search.admission import Admission, AlwaysAdmit
from lft_ray.search.plan import Listener, Plan, Proposes, Queued, Quiet
from lft_ray.search.teachers import Teachers

__all__ = ["Dispatcher", "Next"]

Next = StartedTrial | Literal["wait", "finished"]
PATIENCE_S = 1.0
"""How long a proposal is waited for (0.6 s with the GP on two cores) before running trials may report meanwhile. Not 0:
Tune would give the idle worker to a trial that another worker is starting for, and that one would be stopped."""


@dataclass(slots=True)
class _Live:
    trial: StartedTrial
    free_since: float
    """When its slot became free."""
    begun_at: float
    """When its first attempt of this session was handed out."""
    curve: list[CurvePoint] = field(default_factory=list)
    training_at: float | None = None
    ended_at: float | None = None


class Dispatcher:
    """Hands out trials and writes down how they end.

    Args:
        ledger: of the run; results without a record must have been adopted.
        plan: what to run.
        proposer: asked after the queue; None: only the queue.
        price: turns a worker's result into a record.
        admission: asked before each start.
        listener: told of starts, points and ends.
        teachers: name the teacher of a distilled proposal; None: no such proposal is made.
    """

    def __init__(  # noqa: PLR0913 - its collaborators, each behind a protocol
        self,
        ledger: Ledger,
        plan: Plan,
        proposer: Proposes | None,
        price: Callable[[TrialResult, StartedTrial], TrialRecord],
        admission: Admission | None = None,
        listener: Listener | None = None,
        teachers: Teachers | None = None,
    ) -> None:
        self.ledger = ledger
        self.plan = plan
        self.proposer = proposer
        self.price = price
        self.admission = admission or AlwaysAdmit()
        self.listener = listener or Quiet()
        self.teachers = teachers or Teachers()
        self.end_reason = ""
        """Why no more trials were started; empty while there may be more."""
        self.refusal = ""
        """Why the first configuration that was refused did not start."""
        self._live: dict[str, _Live] = {}
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
        self._queue = deque(self._left_of(plan.queue, started))
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
        live.trial = live.trial.model_copy(update={"attempt": live.trial.attempt + 1, "started_at": now_utc()})
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
            live.curve.append(point)
            self.listener.on_point(trial_id, point)

    def end(
        self, trial_id: str, *, reason: str = "", result: TrialResult | None = None, at: float = 0.0
    ) -> TrialRecord:
        """Write a trial's record, from what its worker put on storage, before anyone else hears of its end.

        Args:
            trial_id: a live trial.
            reason: why it ended, should there be no result: then it failed, or was stopped if it failed not.
            result: what the worker reported, used when its file could not be written.
            at: when the worker was done, in seconds since the epoch.
        """
        live = self._live[trial_id]
        trial = live.trial
        found = self.ledger.result(trial_id, trial.attempt) or result or self._without_result(live, reason)
        if found.status is TrialStatus.FAILED and found.usage == Usage():
            found = found.model_copy(update={"usage": self._charged(live)})
        record = self.price(found, trial).model_copy(update={"overhead_s": self._overhead_s(live, at)})
        self.ledger.put(record)
        del self._live[trial_id]
        self._holds = False
        # An end is also what idle slots were waiting for (trial order, dollars): that is no overhead of ours.
        self._free_since = [time.time()] * (self._slots - len(self._live))
        self.admission.settle(record)
        self.listener.on_record(record)
        return record

    def close(self) -> None:
        """Let go of the proposer's thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    # ------------------------------------------------------------ starting

    def _left_of(self, queue: Sequence[Queued], started: Sequence[StartedTrial]) -> list[Queued]:
        """The queue without what an earlier session started."""
        known = {(trial.config, trial.confirms) for trial in started}
        return [queued for queued in queue if (queued.config, queued.confirms) not in known]

    def _again(self) -> Next:
        trial = self._unfinished[0]
        if self.admission.verdict(trial.config, trial.role):
            self._unfinished.popleft()
            return self._start(trial.model_copy(update={"attempt": trial.attempt + 1}))
        if self._live:
            return "wait"
        # It was started once and can't be paid for now: said so in the ledger, or every resume would try it again.
        self._unfinished.popleft()
        reason = f"not continued: {self.admission.verdict(trial.config, trial.role).reason}"
        record = self.price(self._result(trial, TrialStatus.STOPPED, reason, []), trial)
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
            self._asked = self._thread.submit(self.teachers.propose, self.proposer, n, told, pending, self._fits)
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
        trial = trial.model_copy(update={"started_at": now_utc()})
        self.ledger.start(trial)
        self.admission.reserve(trial.trial_id, trial.config, trial.role)
        self._live[trial.trial_id] = _Live(trial, free_since=self._free_since.pop(), begun_at=time.time())
        self.listener.on_start(trial)
        return trial

    def _finish(self, reason: str) -> Literal["finished"]:
        self.end_reason = reason
        return "finished"

    # ------------------------------------------------------------ ending

    def _without_result(self, live: _Live, reason: str) -> TrialResult:
        status = TrialStatus.FAILED if reason else TrialStatus.STOPPED
        result = self._result(live.trial, status, reason or "stopped before its end", live.curve)
        return result.model_copy(update={"usage": self._charged(live)})

    def _result(self, trial: StartedTrial, status: TrialStatus, reason: str, curve: list[CurvePoint]) -> TrialResult:
        return TrialResult(
            trial_id=trial.trial_id,
            attempt=trial.attempt,
            config=trial.config,
            status=status,
            reason=reason,
            curve=curve,
            started_at=trial.started_at,
        )

    def _charged(self, live: _Live) -> Usage:
        """What a worker that left no account may have used: all its cores for as long as it had them."""
        wall_s = time.time() - (live.training_at or live.begun_at)
        return Usage(core_s=wall_s * self.plan.cores_per_trial, wall_s=wall_s)

    def _overhead_s(self, live: _Live, ended_at: float) -> float:
        before = max(0.0, (live.training_at or live.begun_at) - live.free_since)
        after = max(0.0, time.time() - ended_at) if ended_at else 0.0
        return round(before + after, 4)
