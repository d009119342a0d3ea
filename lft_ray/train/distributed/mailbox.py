"""Where one gang's jobs wait, and what its workers say of them. Plain asyncio: a Ray actor in use, a value in tests.

In: jobs from the process that owns the gang. Out: one job at a time, the same to every worker of the group; points and
the end of it back to the owner. A group that died is known by its successor's new name: then the job in flight is
handed out once more, and after too many deaths it counts as failed. Never looks into a job.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

__all__ = ["IDLE_S", "POLL", "RESTART", "SHUTDOWN", "STARTS", "Command", "JobStatus", "Mailbox", "Order"]

STARTS = 2
"""Groups that may begin one job: the first, and one after a worker died."""
RETRIES = 3
"""More of them that may begin it because memory ran out: each begins with smaller passes (`memory.HALVINGS`)."""
IDLE_S = 20.0
"""An idle gang lets go of its resources: what is not needed now may be what another trial's gang waits for (for a
minute, then Ray Train gives up). Between two trials of a study lie a tenth of a second to some seconds."""
STRAGGLE_S = 60.0
"""How long a worker whose job ended in an error waits for the others. Who still works on what the others gave up waits
in an exchange that nobody joins: then the group has to start again."""


class Command(Enum):
    """What a worker is to do next."""

    POLL = "ask again: there is nothing yet"
    SHUTDOWN = "end, and let go of the resources"
    RESTART = "end with an error, so that the whole group is started again"
    RUN = "run the job that comes along"


class Order(NamedTuple):
    """What a worker is told; number and payload are those of the job that it is to run."""

    command: Command
    number: int = 0
    payload: str = ""


class JobStatus(NamedTuple):
    """What the owner is told of a job: its points so far, and once it has ended what went wrong (empty: nothing).

    ``is_closed``: somebody sent the gang home, and the job did not end before.
    """

    points: list[dict[str, Any]]
    is_over: bool
    error: str
    is_closed: bool = False


POLL = Order(Command.POLL)
SHUTDOWN = Order(Command.SHUTDOWN)
RESTART = Order(Command.RESTART)


@dataclass(slots=True)
class _Job:
    number: int
    payload: str
    groups: list[str] = field(default_factory=list)
    """Those that began it."""
    points: list[dict[str, Any]] = field(default_factory=list)
    retries: int = 0
    is_cancelled: bool = False
    is_over: bool = False
    error: str = ""

    @classmethod
    def none(cls) -> "_Job":
        """The one before the first: no worker runs it."""
        return cls(0, "", is_over=True)

    def order(self) -> Order:
        """What tells a worker to run it."""
        return Order(Command.RUN, self.number, self.payload)


class Mailbox:
    """One job at a time for ``world`` workers.

    Args:
        world: workers of the gang.
        idle_s: after so many seconds without a job the workers are sent home.
        owner: handle of the actor that asked for the gang, for who must end it.
    """

    def __init__(self, world: int, idle_s: float = IDLE_S, owner: Any = None) -> None:
        self._world = world
        self._idle_s = idle_s
        self._owner = owner
        self._changed = asyncio.Condition()
        self._job = _Job.none()
        self._handed = self._job
        """The last one that the group was given. Kept beside its successor: a worker that has not asked for it yet must
        still get it, or the others wait for it in their first exchange."""
        self._groups: list[str] = []
        """All that ever asked; the last one lives."""
        self._waiting: set[int] = set()
        self._is_closed = False
        self._idle_since = time.monotonic()
        self._erred_at: float | None = None

    async def post(self, payload: str) -> int | None:
        """Put a job in. Returns its number, counted from 1; None where the workers were shut down already."""
        async with self._changed:
            if self._is_closed:
                return None
            self._job = _Job(self._job.number + 1, payload)
            self._changed.notify_all()
            return self._job.number

    async def cancel(self, number: int) -> None:
        """Have the workers end this job at their next step; one that nobody began is over at once."""
        async with self._changed:
            if self._job.number == number:
                self._job.is_cancelled = True
                self._job.is_over |= self._handed.number < number
                self._idle_since = time.monotonic()
                self._changed.notify_all()

    async def close(self) -> None:
        """Send the workers home when they ask next."""
        async with self._changed:
            self._is_closed = self._job.is_cancelled = True
            self._changed.notify_all()

    async def owner(self) -> Any:
        """Handle of the actor that the gang belongs to; None: it belongs to a driver."""
        return self._owner

    async def news(self, number: int, seen: int, wait_s: float) -> JobStatus:
        """Points of a job after the first ``seen``; waits for one, or for the end, at most ``wait_s`` seconds."""
        async with self._changed:
            job = self._job
            await self._wait(
                lambda: len(job.points) > seen or job.is_over or job.number != number or self._is_closed, wait_s
            )
            is_over = job.is_over or job.number != number
            return JobStatus(job.points[seen:], is_over, job.error, self._is_closed and not is_over)

    async def take(self, group: str, rank: int, done: int, wait_s: float) -> Order:
        """The job after number ``done``, once all workers of the group ask for it.

        Args:
            group: name of the asking worker's group; a new one says that the group before it is dead.
            rank: of the worker.
            done: number of the last job that it ended.
            wait_s: after so many seconds without an answer it has to ask again.
        """
        async with self._changed:
            if group not in self._groups:
                self._begin(group)
            if group == self._groups[-1]:
                self._waiting.add(rank)
            if len(self._waiting) == self._world:
                self._erred_at = None
                self._changed.notify_all()
            await self._wait(lambda: self._answer(group, done) is not None, min(wait_s, self._idle_s))
            answer = self._answer(group, done)
            if answer is None:
                return POLL
            self._waiting.discard(rank)
            return answer

    async def point(self, number: int, point: dict[str, Any]) -> None:
        """A point of the curve of a job; a repeated one (after a resume) is told once."""
        async with self._changed:
            job = self._job
            if job.number == number and all(point["fraction"] > p["fraction"] for p in job.points):
                job.points.append(point)
                self._changed.notify_all()

    async def cancelled(self, number: int) -> None:
        """Return when this job is to be ended early (or is over)."""
        async with self._changed:
            await self._changed.wait_for(
                lambda: self._job.number != number or self._job.is_cancelled or self._job.is_over
            )

    async def ended(
        self, number: int, rank: int, error: str = "", *, is_lost: bool = False, may_retry: bool = False
    ) -> None:
        """A worker ended a job.

        Args:
            number: of the job.
            rank: of the worker; the job is over when rank 0 says so.
            error: what went wrong for it.
            is_lost: the worker cannot go on; its group starts again.
            may_retry: what it lacked the next group needs less of (memory): a few of those count as none.
        """
        async with self._changed:
            job = self._job
            if job.number != number:
                return
            if error:
                job.error, self._erred_at = job.error or error, time.monotonic()
            if may_retry and job.groups and job.retries < RETRIES:
                job.retries += 1
                job.groups.pop()
            if rank == 0 and not is_lost:
                self._finish()

    def _begin(self, group: str) -> None:
        job = self._job
        self._groups.append(group)
        self._waiting, self._erred_at = set(), None
        self._handed = _Job.none()
        if job.is_over:
            return
        if len(job.groups) >= STARTS:
            job.error = job.error or f"workers died in {len(job.groups)} groups that began it"
        if job.is_cancelled or len(job.groups) >= STARTS:
            self._finish()

    def _answer(self, group: str, done: int) -> Order | None:
        """What a worker is told now; None: nothing yet."""
        if group != self._groups[-1]:
            return SHUTDOWN
        if self._handed.number > done:
            return self._handed.order()
        if self._is_closed:
            return SHUTDOWN
        job, now = self._job, time.monotonic()
        if len(self._waiting) < self._world:
            is_stuck = self._erred_at is not None and now - self._erred_at > STRAGGLE_S
            return RESTART if is_stuck else None
        if job.number > done and not job.is_over:
            self._hand(job)
            return job.order()
        if job.is_over and now - self._idle_since >= self._idle_s:
            self._is_closed = True
            self._changed.notify_all()
            return SHUTDOWN
        return None

    def _hand(self, job: _Job) -> None:
        job.groups.append(self._groups[-1])
        job.error = ""
        self._handed, self._waiting = job, set()
        self._changed.notify_all()

    def _finish(self) -> None:
        self._job.is_over = True
        self._idle_since = time.monotonic()
        self._changed.notify_all()

    async def _wait(self, is_due: Callable[[], bool], wait_s: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait_for(is_due), wait_s)
