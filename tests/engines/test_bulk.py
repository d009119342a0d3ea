"""Long lists on several threads: every text's own answer, in order, whatever finished first."""

import threading

import numpy as np
import pytest

from lft_ray.engines.batching import BATCH_TOKENS, UnreadableText, sorted_batches
from lft_ray.engines.bulk import BulkRunner


class Lengths:
    """Answers each text's length; remembers its batches and threads."""

    max_length = 1000

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[str] = set()
        self.lock = threading.Lock()

    def encode(self, texts):
        return list(texts)

    def run(self, batch):
        with self.lock:
            self.batches.append([len(text) for text in batch])
            self.threads.add(threading.current_thread().name)
        return np.array([[len(text), -len(text)] for text in batch], dtype=np.float32)


def test_logits_are_in_the_order_of_the_texts():
    lengths = np.random.default_rng(0).integers(1, 900, 2000)
    runner = Lengths()
    bulk = BulkRunner(runner, workers=3)
    answers = bulk.run(["x" * n for n in lengths])
    assert answers.shape == (2000, 2)
    assert answers[:, 0].tolist() == lengths.tolist()
    assert all(len(b) == 1 or len(b) * max(b) <= BATCH_TOKENS for b in runner.batches)
    assert sum(map(len, runner.batches)) == 2000
    assert bulk.run(["abc"]).tolist() == [[3.0, -3.0]]
    assert {name.rpartition("_")[0] for name in runner.threads} == {"lft-bulk"}
    bulk.close()


def test_an_error_of_the_engine_is_the_callers():
    class Broken(Lengths):
        def run(self, batch):
            raise RuntimeError("no memory")

    bulk = BulkRunner(Broken(), workers=2)
    with pytest.raises(RuntimeError, match="no memory"):
        bulk.run(["a", "b"])
    bulk.close()


@pytest.mark.parametrize("texts", [["fine", "bad", "good"], ["fine", "b" * 500], ["b" * 500, "fine"]])
def test_a_text_that_the_engine_fails_on_is_named_by_its_place(texts):
    class Picky(Lengths):
        def run(self, batch):
            if {3, 500} & set(map(len, batch)):
                raise IndexError("index out of range")
            return super().run(batch)

    bulk = BulkRunner(Picky(), workers=1)
    with pytest.raises(UnreadableText, match="IndexError") as caught:
        bulk.run(texts)
    assert caught.value.row == next(row for row, text in enumerate(texts) if text.startswith("b"))
    bulk.close()


def test_batches_are_sorted_and_within_the_budget():
    assert list(sorted_batches([5, 1, 3, 90, 2], 10, 64)) == [[1, 4, 2], [0], [3]]
    assert list(sorted_batches([1] * 5, 100, 2)) == [[0, 1], [2, 3], [4]]
    assert list(sorted_batches([], 100, 2)) == []
