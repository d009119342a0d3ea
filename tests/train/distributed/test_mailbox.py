"""The mailbox of a gang as a plain value: who is told what, in which order."""

import asyncio

import pytest

from lft_ray.train.distributed import mailbox as module
from lft_ray.train.distributed.mailbox import POLL, RESTART, SHUTDOWN, Command, JobStatus, Mailbox, Order

SOON = 0.01
LATER = 10.0


def both(box: Mailbox, done: int, *, group: str = "a", wait_s: float = LATER):
    return asyncio.gather(*(box.take(group, rank, done, wait_s) for rank in (0, 1)))


def play(scene):
    asyncio.run(asyncio.wait_for(scene(Mailbox(2)), 60))


def test_a_job_goes_to_all_workers_and_its_points_to_the_owner():
    async def scene(box):
        asked = both(box, 0)
        assert await box.post("one") == 1
        assert await asked == [Order(Command.RUN, 1, "one")] * 2
        await box.point(1, {"fraction": 0.5})
        # After a resume a point comes again.
        await box.point(1, {"fraction": 0.5})
        assert await box.news(1, 0, LATER) == JobStatus([{"fraction": 0.5}], False, "")
        assert await box.news(1, 1, SOON) == JobStatus([], False, "")
        await box.ended(1, 1)
        assert not (await box.news(1, 1, SOON)).is_over
        await box.ended(1, 0)
        assert await box.news(1, 1, LATER) == JobStatus([], True, "")

    play(scene)


def test_the_next_job_waits_for_the_slowest_worker():
    async def scene(box):
        await box.post("one")
        await both(box, 0)
        await box.ended(1, 0)
        await box.post("two")
        assert await box.take("a", 0, 1, SOON) == POLL
        assert await both(box, 1) == [Order(Command.RUN, 2, "two")] * 2

    play(scene)


def test_a_worker_that_asks_late_still_gets_what_the_others_got():
    async def scene(box):
        assert await box.take("a", 1, 0, SOON) == POLL
        await box.post("one")
        assert await box.take("a", 0, 0, SOON) == Order(Command.RUN, 1, "one")
        await box.cancel(1)
        await box.post("two")
        assert await box.take("a", 1, 0, SOON) == Order(Command.RUN, 1, "one")
        await box.cancelled(1)
        assert await both(box, 1) == [Order(Command.RUN, 2, "two")] * 2

    play(scene)


def test_a_new_group_gets_the_job_of_a_dead_one_once_more_and_no_second_time():
    async def scene(box):
        await box.post("one")
        await both(box, 0)
        assert await both(box, 0, group="b") == [Order(Command.RUN, 1, "one")] * 2
        assert await box.take("a", 0, 1, SOON) == SHUTDOWN
        assert not (await box.news(1, 0, SOON)).is_over
        assert await both(box, 0, group="c", wait_s=SOON) == [POLL] * 2
        news = await box.news(1, 0, LATER)
        assert news.is_over
        assert "2 groups" in news.error
        await box.post("two")
        assert await both(box, 0, group="c") == [Order(Command.RUN, 2, "two")] * 2

    play(scene)


def test_an_error_of_the_last_group_is_the_reason():
    async def scene(box):
        await box.post("one")
        for group in "ab":
            await both(box, 0, group=group)
            await box.ended(1, 1, f"RuntimeError: in {group}", is_lost=True)
        await both(box, 0, group="c", wait_s=SOON)
        assert await box.news(1, 0, LATER) == JobStatus([], True, "RuntimeError: in b")

    play(scene)


def test_groups_that_ran_out_of_memory_are_retries():
    async def scene(box):
        await box.post("one")
        for group in "abcd":
            assert await both(box, 0, group=group) == [Order(Command.RUN, 1, "one")] * 2
            await box.ended(1, 1, "OutOfMemoryError: 2 GiB", is_lost=True, may_retry=True)
        # Three were for nothing, the fourth counts; one more may begin it.
        assert await both(box, 0, group="e") == [Order(Command.RUN, 1, "one")] * 2
        await both(box, 0, group="f", wait_s=SOON)
        assert (await box.news(1, 0, LATER)).is_over

    play(scene)


def test_a_cancelled_job_that_nobody_began_is_over():
    async def scene(box):
        await box.post("one")
        await box.cancel(1)
        assert (await box.news(1, 0, LATER)).is_over
        assert await both(box, 0, wait_s=SOON) == [POLL] * 2
        # One that was begun ends when its workers say so, or die.
        await box.post("two")
        await both(box, 0)
        await box.cancel(2)
        assert not (await box.news(2, 0, SOON)).is_over
        assert await both(box, 0, group="b", wait_s=SOON) == [POLL] * 2
        assert (await box.news(2, 0, LATER)).is_over

    play(scene)


def test_an_idle_gang_goes_home_and_takes_no_more():
    async def scene(_):
        box = Mailbox(2, idle_s=SOON)
        answers = [await both(box, 0) for _ in range(3)]
        assert answers[-1] == [SHUTDOWN] * 2
        assert await box.post("late") is None

    play(scene)


def test_a_closed_gang_ends_its_job_first():
    async def scene(box):
        await box.post("one")
        await both(box, 0)
        await box.close()
        assert (await box.news(1, 0, LATER)).is_closed
        await box.cancelled(1)
        await box.ended(1, 0)
        assert await both(box, 1) == [SHUTDOWN] * 2

    play(scene)


def test_who_waits_in_vain_for_the_others_starts_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "STRAGGLE_S", 0.0)

    async def scene(box):
        await box.post("one")
        await both(box, 0)
        await box.ended(1, 1, "InputError: no such file")
        assert await box.take("a", 1, 1, SOON) == RESTART

    play(scene)
