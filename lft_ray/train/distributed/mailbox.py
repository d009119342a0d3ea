"""Mailbox of a worker group: hands jobs to the workers and returns their progress to the owner. Plain asyncio.

In: jobs from the process that owns the worker group. Out: one job at a time, the same one for every worker; curve
points and the end of the job for the owner. It runs as a Ray actor, and as a plain object in tests. When Ray Train
restarts the workers, the new incarnation of the group has a new name: the job in flight is then assigned once more, and
counts as failed after too many restarts. Never interprets a job.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

__all__ = [
    "IDLE_TIMEOUT_S",
    "MAX_STARTS",
    "POLL",
    "RESTART",
    "SHUTDOWN",
    "Command",
    "Instruction",
    "JobStatus",
    "Mailbox",
]

MAX_STARTS = 2
"""How many incarnations of the group may start the same job: the first, and one more after a worker died."""
MAX_OOM_RETRIES = 3
"""Additional starts of the same job after running out of memory; each begins with smaller forward passes
(`memory.MAX_HALVINGS`)."""
IDLE_TIMEOUT_S = 20.0
"""An idle group releases its resources after this time, because another trial's group may be waiting for them (for one
minute, then Ray Train gives up). Two trials of a study are a tenth of a second to a few seconds apart."""
STRAGGLER_TIMEOUT_S = 60.0
"""How long a worker whose job ended in an error waits for the others. A worker still running a job that the others
gave up hangs in a collective operation that never completes, so the group must be restarted."""


class Command(Enum):
    """What a worker has to do next."""

    POLL = "poll again: there is no job yet"
    SHUTDOWN = "exit and release the resources"
    RESTART = "exit with an error, so that Ray Train restarts the whole group"
    RUN = "run the attached job"


class Instruction(NamedTuple):
    """Instruction for a worker; ``number`` and ``payload`` identify the job to run, if any."""

    command: Command
    number: int = 0
    payload: str = ""


class JobStatus(NamedTuple):
    """Progress of a job, for the owner.

    Attributes:
        points: new curve points.
        is_over: whether the job has ended.
        error: the error it ended with; empty if it succeeded or is still running.
        is_closed: whether the group was shut down before the job ended.
    """

    points: list[dict[str, Any]]
    is_over: bool
    error: str
    is_closed: bool = False


POLL = Instruction(Command.POLL)
SHUTDOWN = Instruction(Command.SHUTDOWN)
RESTART = Instruction(Command.RESTART)


@dataclass(slots=True)
class _Job:
    number: int
    payload: str
    groups: list[str] = field(default_factory=list)
    """Names of the group incarnations that started it."""
    points: list[dict[str, Any]] = field(default_factory=list)
    retries: int = 0
    is_cancelled: bool = False
    is_over: bool = False
    error: str = ""

    @classmethod
    def none(cls) -> "_Job":
        """Placeholder before the first job; no worker runs it."""
        return cls(0, "", is_over=True)

    def instruction(self) -> Instruction:
        """Instruction to run this job."""
        return Instruction(Command.RUN, self.number, self.payload)


class Mailbox:
    """Assigns one job at a time to ``world`` workers.

    Args:
        world: number of workers in the group.
        idle_s: seconds without a job after which the workers are shut down.
        owner: handle of the actor that started the group, so that it can be killed if necessary.
    """

    def __init__(self, world: int, idle_s: float = IDLE_TIMEOUT_S, owner: Any = None) -> None:
        self._world = world
        self._idle_s = idle_s
        self._owner = owner
        self._changed = asyncio.Condition()
        self._job = _Job.none()
        self._assigned = self._job
        """The last job assigned to the group. It stays available after the next job is posted: a worker that has not
        fetched it yet must still get it, or the others wait for that worker in their first collective operation."""
        self._groups: list[str] = []
        """Names of all incarnations of the group so far; only the last one is alive."""
        self._waiting: set[int] = set()
        self._is_closed = False
        self._idle_since = time.monotonic()
        self._erred_at: float | None = None

    async def post(self, payload: str) -> int | None:
        """Post a job. Returns its number, counted from 1, or None if the workers have already been shut down."""
        async with self._changed:
            if self._is_closed:
                return None
            self._job = _Job(self._job.number + 1, payload)
            self._changed.notify_all()
            return self._job.number

    async def cancel(self, number: int) -> None:
        """Make the workers end this job at their next step; a job that has not started ends at once."""
        async with self._changed:
            if self._job.number == number:
                self._job.is_cancelled = True
                self._job.is_over |= self._assigned.number < number
                self._idle_since = time.monotonic()
                self._changed.notify_all()

    async def close(self) -> None:
        """Shut the workers down the next time they poll."""
        async with self._changed:
            self._is_closed = self._job.is_cancelled = True
            self._changed.notify_all()

    async def owner(self) -> Any:
        """Handle of the actor that owns the group; None if a driver owns it."""
        return self._owner

    async def job_status(self, number: int, seen: int, wait_s: float) -> JobStatus:
        """Status of a job with its points after the first ``seen``; waits up to ``wait_s`` seconds for a change."""
        async with self._changed:
            job = self._job
            await self._wait(
                lambda: len(job.points) > seen or job.is_over or job.number != number or self._is_closed, wait_s
            )
            is_over = job.is_over or job.number != number
            return JobStatus(job.points[seen:], is_over, job.error, self._is_closed and not is_over)

    async def take(self, group: str, rank: int, done: int, wait_s: float) -> Instruction:
        """Next instruction for a worker: the job after number ``done``, once all workers of the group are waiting.

        Args:
            group: name of the calling worker's group; a new name means that the previous group has died.
            rank: rank of the worker.
            done: number of the last job the worker finished.
            wait_s: seconds after which the worker is told to poll again.
        """
        async with self._changed:
            if group not in self._groups:
                self._begin(group)
            if group == self._groups[-1]:
                self._waiting.add(rank)
            if len(self._waiting) == self._world:
                self._erred_at = None
                self._changed.notify_all()
            await self._wait(lambda: self._next(group, done) is not None, min(wait_s, self._idle_s))
            instruction = self._next(group, done)
            if instruction is None:
                return POLL
            self._waiting.discard(rank)
            return instruction

    async def add_point(self, number: int, point: dict[str, Any]) -> None:
        """Add a curve point to a job; a point repeated after a resume is added once."""
        async with self._changed:
            job = self._job
            if job.number == number and all(point["fraction"] > p["fraction"] for p in job.points):
                job.points.append(point)
                self._changed.notify_all()

    async def cancelled(self, number: int) -> None:
        """Return as soon as this job is cancelled, replaced or over."""
        async with self._changed:
            await self._changed.wait_for(
                lambda: self._job.number != number or self._job.is_cancelled or self._job.is_over
            )

    async def ended(
        self, number: int, rank: int, error: str = "", *, is_lost: bool = False, may_retry: bool = False
    ) -> None:
        """Record that a worker ended a job.

        Args:
            number: number of the job.
            rank: rank of the worker; the job is over when rank 0 ends it.
            error: the worker's error, if any.
            is_lost: whether the worker cannot continue, so that its group is restarted.
            may_retry: whether the worker ran out of memory. The next incarnation needs less, so the first few of these
                starts (`MAX_OOM_RETRIES`) do not count.
        """
        async with self._changed:
            job = self._job
            if job.number != number:
                return
            if error:
                job.error, self._erred_at = job.error or error, time.monotonic()
            if may_retry and job.groups and job.retries < MAX_OOM_RETRIES:
                job.retries += 1
                job.groups.pop()
            if rank == 0 and not is_lost:
                self._finish()

    def _begin(self, group: str) -> None:
        job = self._job
        self._groups.append(group)
        self._waiting, self._erred_at = set(), None
        # The processes that held the assigned job are dead: the new group must not join it halfway.
        self._assigned = _Job.none()
        if job.is_over:
            return
        if len(job.groups) >= MAX_STARTS:
            job.error = job.error or f"workers died in {len(job.groups)} groups that started this job"
        if job.is_cancelled or len(job.groups) >= MAX_STARTS:
            self._finish()

    def _next(self, group: str, done: int) -> Instruction | None:
        """Instruction for a worker at this moment; None if it has to wait."""
        if group != self._groups[-1]:
            return SHUTDOWN
        if self._assigned.number > done:
            return self._assigned.instruction()
        if self._is_closed:
            return SHUTDOWN
        job, now = self._job, time.monotonic()
        if len(self._waiting) < self._world:
            is_stuck = self._erred_at is not None and now - self._erred_at > STRAGGLER_TIMEOUT_S
            return RESTART if is_stuck else None
        if job.number > done and not job.is_over:
            self._assign(job)
            return job.instruction()
        if job.is_over and now - self._idle_since >= self._idle_s:
            self._is_closed = True
            self._changed.notify_all()
            return SHUTDOWN
        return None

    def _assign(self, job: _Job) -> None:
        job.groups.append(self._groups[-1])
        job.error = ""
        self._assigned, self._waiting = job, set()
        self._changed.notify_all()

    def _finish(self) -> None:
        self._job.is_over = True
        self._idle_since = time.monotonic()
        self._changed.notify_all()

    async def _wait(self, is_due: Callable[[], bool], wait_s: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait_for(is_due), wait_s)
