"""Mailbox of a worker group as a plain object: which worker gets which instruction, in which order."""

import asyncio

import pytest

from lft_ray.train.distributed import mailbox as module
from lft_ray.train.distributed.mailbox import POLL, RESTART, SHUTDOWN, Command, Instruction, JobStatus, Mailbox

SOON = 0.01
LATER = 10.0


def both(box: Mailbox, done: int, *, group: str = "a", wait_s: float = LATER):
    return asyncio.gather(*(box.take(group, rank, done, wait_s) for rank in (0, 1)))


def play(scene):
    asyncio.run(asyncio.wait_for(scene(Mailbox(2)), 60))


def test_a_job_goes_to_all_workers_and_its_points_to_the_owner():
    async def scene(box):
        waiting = both(box, 0)
        assert await box.post("one") == 1
        assert await waiting == [Instruction(Command.RUN, 1, "one")] * 2
        await box.add_point(1, {"fraction": 0.5})
        # After a resume a point is reported again.
        await box.add_point(1, {"fraction": 0.5})
        assert await box.job_status(1, 0, LATER) == JobStatus([{"fraction": 0.5}], False, "")
        assert await box.job_status(1, 1, SOON) == JobStatus([], False, "")
        await box.ended(1, 1)
        assert not (await box.job_status(1, 1, SOON)).is_over
        await box.ended(1, 0)
        assert await box.job_status(1, 1, LATER) == JobStatus([], True, "")

    play(scene)


def test_the_next_job_waits_for_the_slowest_worker():
    async def scene(box):
        await box.post("one")
        await both(box, 0)
        await box.ended(1, 0)
        await box.post("two")
        assert await box.take("a", 0, 1, SOON) == POLL
        assert await both(box, 1) == [Instruction(Command.RUN, 2, "two")] * 2

    play(scene)


def test_a_late_worker_still_gets_the_job_of_the_others():
    async def scene(box):
        assert await box.take("a", 1, 0, SOON) == POLL
        await box.post("one")
        assert await box.take("a", 0, 0, SOON) == Instruction(Command.RUN, 1, "one")
        await box.cancel(1)
        await box.post("two")
        assert await box.take("a", 1, 0, SOON) == Instruction(Command.RUN, 1, "one")
        await box.cancelled(1)
        assert await both(box, 1) == [Instruction(Command.RUN, 2, "two")] * 2

    play(scene)


def test_the_job_of_a_dead_group_is_assigned_once_more_only():
    async def scene(box):
        await box.post("one")
        await both(box, 0)
        assert await both(box, 0, group="b") == [Instruction(Command.RUN, 1, "one")] * 2
        assert await box.take("a", 0, 1, SOON) == SHUTDOWN
        assert not (await box.job_status(1, 0, SOON)).is_over
        assert await both(box, 0, group="c", wait_s=SOON) == [POLL] * 2
        status = await box.job_status(1, 0, LATER)
        assert status.is_over
        assert "2 groups" in status.error
        await box.post("two")
        assert await both(box, 0, group="c") == [Instruction(Command.RUN, 2, "two")] * 2

    play(scene)


def test_the_reported_error_is_that_of_the_last_group():
    async def scene(box):
        await box.post("one")
        for group in "ab":
            await both(box, 0, group=group)
            await box.ended(1, 1, f"RuntimeError: in {group}", is_lost=True)
        await both(box, 0, group="c", wait_s=SOON)
        assert await box.job_status(1, 0, LATER) == JobStatus([], True, "RuntimeError: in b")

    play(scene)


def test_groups_that_ran_out_of_memory_do_not_count_as_starts():
    async def scene(box):
        await box.post("one")
        for group in "abcd":
            assert await both(box, 0, group=group) == [Instruction(Command.RUN, 1, "one")] * 2
            await box.ended(1, 1, "OutOfMemoryError: 2 GiB", is_lost=True, may_retry=True)
        # The first three starts do not count, the fourth does; one more is allowed.
        assert await both(box, 0, group="e") == [Instruction(Command.RUN, 1, "one")] * 2
        await both(box, 0, group="f", wait_s=SOON)
        assert (await box.job_status(1, 0, LATER)).is_over

    play(scene)


def test_a_cancelled_job_that_has_not_started_is_over():
    async def scene(box):
        await box.post("one")
        await box.cancel(1)
        assert (await box.job_status(1, 0, LATER)).is_over
        assert await both(box, 0, wait_s=SOON) == [POLL] * 2
        # A started job ends when its workers report the end, or die.
        await box.post("two")
        await both(box, 0)
        await box.cancel(2)
        assert not (await box.job_status(2, 0, SOON)).is_over
        assert await both(box, 0, group="b", wait_s=SOON) == [POLL] * 2
        assert (await box.job_status(2, 0, LATER)).is_over

    play(scene)


def test_an_idle_group_shuts_down_and_accepts_no_job():
    async def scene(_):
        box = Mailbox(2, idle_s=SOON)
        instructions = [await both(box, 0) for _ in range(3)]
        assert instructions[-1] == [SHUTDOWN] * 2
        assert await box.post("late") is None

    play(scene)


def test_a_closed_group_ends_its_job_first():
    async def scene(box):
        await box.post("one")
        await both(box, 0)
        await box.close()
        assert (await box.job_status(1, 0, LATER)).is_closed
        await box.cancelled(1)
        await box.ended(1, 0)
        assert await both(box, 1) == [SHUTDOWN] * 2

    play(scene)


def test_a_worker_that_waits_too_long_for_the_others_restarts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "STRAGGLER_TIMEOUT_S", 0.0)

    async def scene(box):
        await box.post("one")
        await both(box, 0)
        await box.ended(1, 1, "InputError: no such file")
        assert await box.take("a", 1, 1, SOON) == RESTART

    play(scene)
