"""The batcher: nearest lengths, no lost answers, errors to exactly whom they concern, cancelling, a bounded queue."""

import asyncio
import random
import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from lft_ray.engines.batching import BATCH_TOKENS, Batcher, Overloaded, UnreadableText, run_sorted

WAIT_S = 20.0


class Lengths:
    """A runner whose logit is the length of the text, that records its batches and can be held back."""

    max_length = 10_000

    def __init__(self, during: Callable[[Sequence[str]], None] | None = None) -> None:
        self.batches: list[list[str]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.busy = threading.Event()
        self._during = during
        self._lock = threading.Lock()

    def encode(self, texts):
        if any("unreadable" in text for text in texts):
            raise ValueError("unreadable text")
        return list(texts)

    def run(self, batch):
        with self._lock:
            self.batches.append(list(batch))
        self.busy.set()
        assert self.gate.wait(WAIT_S)
        if self._during:
            self._during(batch)
        return np.array([[len(text), -len(text)] for text in batch], dtype=np.float32)


def with_batcher(runner, body, **options):
    """Run a coroutine function that takes the batcher; close the batcher after it."""
    batcher = Batcher(runner, **options)
    try:
        return asyncio.run(asyncio.wait_for(body(batcher), WAIT_S))
    finally:
        runner.gate.set()
        batcher.close(WAIT_S)
        assert batcher.queued == 0


async def queued(batcher: Batcher, count: int) -> None:
    while batcher.queued != count:
        await asyncio.sleep(0.001)


async def held_back(runner: Lengths, batcher: Batcher) -> "asyncio.Task":
    """Keep the one worker busy with a first text, so that what follows waits."""
    runner.gate.clear()
    runner.busy.clear()
    first = asyncio.create_task(batcher.submit(["first"]))
    await asyncio.to_thread(runner.busy.wait, WAIT_S)
    await queued(batcher, 0)
    return first


def test_one_text_runs_at_once_and_alone():
    runner = Lengths()
    logits = with_batcher(runner, lambda batcher: batcher.submit(["abc"]))
    assert logits.tolist() == [[3.0, -3.0]]
    assert runner.batches == [["abc"]]


def test_the_oldest_takes_its_nearest_in_length_along():
    runner = Lengths()
    lengths = [50, 9, 48, 200, 52, 10, 49, 11, 51]

    async def body(batcher):
        first = await held_back(runner, batcher)
        tasks = [asyncio.create_task(batcher.submit(["x" * length])) for length in lengths]
        await queued(batcher, len(lengths))
        runner.gate.set()
        await first
        return [float((await task)[0, 0]) for task in tasks]

    assert with_batcher(runner, body, max_batch_tokens=260, max_batch=64) == lengths
    sizes = [[len(text) for text in batch] for batch in runner.batches[1:]]
    assert sizes == [[48, 49, 50, 51, 52], [9, 10, 11], [200]]


def test_a_text_above_the_budget_runs_alone_and_counts_are_capped():
    runner = Lengths()

    async def body(batcher):
        first = await held_back(runner, batcher)
        rest = asyncio.create_task(batcher.submit(["x" * 500, *["y" * 4] * 7]))
        await queued(batcher, 8)
        runner.gate.set()
        await first
        return (await rest)[:, 0].tolist()

    assert with_batcher(runner, body, max_batch_tokens=100, max_batch=3) == [500.0] + [4.0] * 7
    assert [len(batch) for batch in runner.batches[1:]] == [1, 3, 3, 1]


@pytest.mark.parametrize("workers", [1, 3])
def test_a_thousand_concurrent_submits_lose_no_result(workers):
    runner = Lengths()
    dice = random.Random(0)
    requests = [["t" * dice.randint(1, 200) for _ in range(dice.choice([1, 1, 1, 4]))] for _ in range(1000)]

    async def body(batcher):
        return await asyncio.gather(*(batcher.submit(texts) for texts in requests))

    answers = with_batcher(runner, body, workers=workers)
    for texts, logits in zip(requests, answers, strict=True):
        assert logits[:, 0].tolist() == [len(text) for text in texts]
    assert sum(map(len, runner.batches)) == sum(map(len, requests))
    for batch in runner.batches:
        assert len(batch) <= 64
        assert len(batch) == 1 or len(batch) * max(map(len, batch)) <= BATCH_TOKENS


def test_threads_of_several_event_loops_share_one_batcher():
    batcher = Batcher(Lengths())
    answers: dict[int, float] = {}

    def caller(length: int) -> None:
        answers[length] = float(asyncio.run(batcher.submit(["x" * length]))[0, 0])

    threads = [threading.Thread(target=caller, args=(length,)) for length in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    batcher.close()
    assert answers == {length: float(length) for length in range(1, 9)}


def fail_on_bad(batch):
    if any(text.startswith("bad") for text in batch):
        raise RuntimeError("the engine broke")


def test_a_text_that_the_engine_fails_on_fails_its_own_request_only():
    runner = Lengths(fail_on_bad)

    async def body(batcher):
        first = await held_back(runner, batcher)
        sent = (["abc"], ["bad"], ["abcd"], ["xyz", "zyx"], ["bad2", "f" * 90])
        tasks = [asyncio.create_task(batcher.submit(texts)) for texts in sent]
        await queued(batcher, 7)
        runner.gate.set()
        await first
        return await asyncio.gather(*tasks, return_exceptions=True)

    fine, bad, longer, both, mixed = with_batcher(runner, body, max_batch_tokens=320)
    assert [fine[0, 0], longer[0, 0], *both[:, 0]] == [3, 4, 3, 3]
    assert [type(bad), type(mixed), mixed.row] == [UnreadableText, UnreadableText, 0]
    assert not any("f" * 90 in batch for batch in runner.batches), "the rest of a failed request must not run"


def test_logits_that_are_not_finite_fail_their_own_request_only():
    class Overflowing(Lengths):
        def run(self, batch):
            logits = super().run(batch)
            logits[[text == "huge" for text in batch]] = np.nan
            return logits

    runner = Overflowing()

    async def body(batcher):
        first = await held_back(runner, batcher)
        tasks = [asyncio.create_task(batcher.submit([text])) for text in ("huge", "tiny")]
        await queued(batcher, 2)
        runner.gate.set()
        await first
        return await asyncio.gather(*tasks, return_exceptions=True)

    huge, tiny = with_batcher(runner, body)
    assert (type(huge), tiny[0, 0]) == (UnreadableText, 4)


def test_an_engine_that_no_longer_runs_anything_is_not_the_fault_of_a_text():
    runner = Lengths()

    async def body(batcher):
        await batcher.submit(["good"])
        runner._during = lambda _: (_ for _ in ()).throw(RuntimeError("out of memory"))
        with pytest.raises(RuntimeError, match="out of memory"):
            await batcher.submit(["next"])

    with_batcher(runner, body)


def test_a_single_text_does_not_wait_for_all_texts_of_a_large_request():
    runner = Lengths()

    async def body(batcher):
        first = await held_back(runner, batcher)
        large = asyncio.create_task(batcher.submit([f"{number:050}" for number in range(128)]))
        await queued(batcher, 128)
        small = asyncio.create_task(batcher.submit(["small"]))
        await queued(batcher, 129)
        runner.gate.set()
        await first
        return (await small)[0, 0], len(await large)

    assert with_batcher(runner, body, max_batch_tokens=200) == (5, 128)
    turns = [number for number, batch in enumerate(runner.batches) if "small" in batch]
    assert turns[0] <= 3, "it waits for its turn, not for 32 batches"
    large = [text for batch in runner.batches for text in batch if len(text) == 50]
    assert large == sorted(large), "within one request the order stays"


def test_the_texts_of_a_large_request_are_tokenised_in_slices():
    slices = []

    class Recording(Lengths):
        def encode(self, texts):
            slices.append(len(texts))
            return super().encode(texts)

    runner = Recording()

    async def body(batcher):
        first = await held_back(runner, batcher)
        large = asyncio.create_task(batcher.submit(["x" * 9000] * 40))
        await queued(batcher, 40)
        small = asyncio.create_task(batcher.submit(["small"]))
        await queued(batcher, 41)
        runner.gate.set()
        await asyncio.gather(first, large, small)

    with_batcher(runner, body)
    assert sum(slices) == 42
    assert max(slices) <= 16


def test_long_pairs_count_as_the_characters_that_they_have():
    happened = []

    class Recording(Lengths):
        def encode(self, texts):
            happened.extend("e" for _ in texts)
            return [f"{first}{second}" for first, second in texts]

    runner = Recording(lambda batch: happened.append("r"))

    async def body(batcher):
        first = asyncio.create_task(batcher.submit([("a", "b")]))
        await asyncio.to_thread(runner.busy.wait, WAIT_S)
        rest = [asyncio.create_task(batcher.submit([("who", "x" * 20_000)])) for _ in range(8)]
        await queued(batcher, 8)
        runner.gate.set()
        await asyncio.gather(first, *rest)

    runner.gate.clear()
    with_batcher(runner, body)
    # One such text fills a slice: between two batches no second one is tokenised.
    assert "eee" not in "".join(happened)


def test_batches_are_observed():
    seen = []
    with_batcher(Lengths(), lambda batcher: batcher.submit(["a", "b"]), observe=lambda *batch: seen.append(batch))
    assert [texts for texts, _ in seen] == [2]
    assert all(waited_s >= 0 for _, waited_s in seen)


@pytest.mark.parametrize("error", [StopIteration(), KeyboardInterrupt(), SystemExit(3), MemoryError()])
def test_no_kind_of_error_ends_the_worker(error):
    def fail(batch):
        if "bad" in batch:
            raise error

    async def body(batcher):
        try:
            await batcher.submit(["bad"])
        except BaseException as caught:  # noqa: BLE001
            kind = type(caught)
        return kind, (await batcher.submit(["good"]))[0, 0]

    kind, answer = with_batcher(Lengths(fail), body)
    assert kind is (RuntimeError if isinstance(error, StopIteration) else type(error))
    assert answer == 4


def test_a_text_that_cannot_be_encoded_fails_alone():
    async def body(batcher):
        return await asyncio.gather(
            batcher.submit(["fine"]), batcher.submit(["unreadable"]), batcher.submit(["too"]), return_exceptions=True
        )

    fine, unreadable, too = with_batcher(Lengths(), body)
    assert isinstance(unreadable, ValueError)
    assert (fine[0, 0], too[0, 0]) == (4, 3)


def test_an_engine_that_returns_too_few_rows_is_an_error():
    class Short(Lengths):
        def run(self, batch):
            return super().run(batch)[:-1]

    with pytest.raises(RuntimeError, match="returned 0 rows for 1 texts"):
        with_batcher(Short(), lambda batcher: batcher.submit(["abc"]))


def test_a_cancelled_submit_never_runs():
    runner = Lengths()

    async def body(batcher):
        first = await held_back(runner, batcher)
        doomed = asyncio.create_task(batcher.submit(["doomed", "doomed too"]))
        stays = asyncio.create_task(batcher.submit(["stays"]))
        await queued(batcher, 3)
        doomed.cancel()
        with pytest.raises(asyncio.CancelledError):
            await doomed
        assert batcher.queued == 1
        runner.gate.set()
        await first
        return (await stays)[0, 0]

    assert with_batcher(runner, body) == 5
    assert [text for batch in runner.batches for text in batch] == ["first", "stays"]


def test_a_submit_cancelled_while_it_runs_harms_no_other():
    runner = Lengths()

    async def body(batcher):
        first = await held_back(runner, batcher)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        runner.gate.set()
        return (await batcher.submit(["next"]))[0, 0]

    assert with_batcher(runner, body) == 4


def test_a_time_limit_of_the_caller_works():
    runner = Lengths()

    async def body(batcher):
        first = await held_back(runner, batcher)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(batcher.submit(["slow"]), 0.01)
        runner.gate.set()
        await first

    with_batcher(runner, body)
    assert runner.batches == [["first"]]


def test_a_full_queue_refuses_and_recovers():
    runner = Lengths()

    async def body(batcher):
        first = await held_back(runner, batcher)
        waiting = asyncio.create_task(batcher.submit(["a", "b", "c"]))
        await queued(batcher, 3)
        with pytest.raises(Overloaded, match="the queue is full: 3 of at most 4 texts are waiting"):
            await batcher.submit(["d", "e"])
        last = asyncio.create_task(batcher.submit(["d"]))
        await queued(batcher, 4)
        runner.gate.set()
        await asyncio.gather(first, waiting, last)
        return (await batcher.submit(["e", "f", "g", "h"])).shape

    assert with_batcher(runner, body, max_queued_texts=4) == (4, 2)


def test_close_finishes_queued_texts_and_rejects_new_ones():
    runner = Lengths()

    async def body(batcher):
        first = await held_back(runner, batcher)
        waiting = asyncio.create_task(batcher.submit(["waits"]))
        await queued(batcher, 1)
        closing = asyncio.create_task(asyncio.to_thread(batcher.close))
        await asyncio.sleep(0.01)
        with pytest.raises(Overloaded, match="shutting down"):
            await batcher.submit(["late"])
        runner.gate.set()
        await closing
        return (await first)[0, 0], (await waiting)[0, 0]

    assert with_batcher(runner, body) == (5, 5)


def test_close_with_a_stuck_engine_fails_the_queued_texts():
    runner = Lengths()

    async def body(batcher):
        first = await held_back(runner, batcher)
        waiting = asyncio.create_task(batcher.submit(["waits"]))
        await queued(batcher, 1)
        await asyncio.to_thread(batcher.close, 0.01)
        with pytest.raises(Overloaded, match="was shut down"):
            await waiting
        runner.gate.set()
        return (await first)[0, 0]

    assert with_batcher(runner, body) == 5


def test_nothing_to_submit_is_an_error():
    with pytest.raises(ValueError, match="at least one text"):
        with_batcher(Lengths(), lambda batcher: batcher.submit([]))


def test_one_long_list_keeps_its_order():
    runner = Lengths()
    dice = random.Random(1)
    texts = ["t" * dice.randint(1, 90) for _ in range(300)]
    logits = run_sorted(runner, texts, max_batch_tokens=400, max_batch=16)
    assert logits[:, 0].tolist() == [len(text) for text in texts]
    assert all(len(batch) <= 16 and len(batch) * max(map(len, batch)) <= 400 for batch in runner.batches)
