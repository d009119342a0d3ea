"""Batches: every row once, within the token budget, and the same step for any number of workers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lft_ray.data.batches import collate, eval_batches, micro_batches, plan_steps

some_lengths = st.lists(st.integers(1, 200), min_size=1, max_size=300).map(lambda v: np.array(v, dtype=np.int64))


@settings(max_examples=60, deadline=None)
@given(some_lengths, st.integers(1, 40), st.integers(0, 3), st.integers(0, 3))
def test_an_epoch_has_every_row_once(lengths, batch_size, seed, epoch):
    steps = plan_steps(lengths, batch_size, seed=seed, epoch=epoch, window=4)
    assert sorted(np.concatenate(steps).tolist()) == list(range(len(lengths)))
    assert len(steps) == -(-len(lengths) // batch_size)
    assert sum(len(step) != batch_size for step in steps) <= 1


def test_epochs_and_seeds_differ_and_repeat():
    lengths = np.arange(100) % 17 + 1

    def plan(seed: int, epoch: int) -> list[list[int]]:
        return [step.tolist() for step in plan_steps(lengths, 8, seed=seed, epoch=epoch)]

    assert plan(0, 0) == plan(0, 0)
    assert plan(0, 0) != plan(0, 1)
    assert plan(0, 0) != plan(1, 0)


def test_sorting_within_windows_saves_padding():
    lengths = np.random.default_rng(0).integers(5, 128, size=4000)

    def padding(window: int) -> float:
        steps = plan_steps(lengths, 32, seed=0, epoch=0, window=window)
        return 1 - lengths.sum() / sum(len(step) * lengths[step].max() for step in steps)

    assert padding(1) > 0.4
    assert padding(32) < 0.05


@settings(max_examples=80, deadline=None)
@given(some_lengths, st.integers(1, 500), st.integers(1, 5), st.data())
def test_workers_share_a_step_without_loss_or_repeat(lengths, budget, world, data):
    rows = np.array(data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, unique=True)), dtype=np.int64)
    shares = [micro_batches(rows, lengths, budget, rank=rank, world=world) for rank in range(world)]
    texts = [row for share in shares for batch in share for row in batch.tolist()]
    assert sorted(texts) == sorted(rows.tolist())
    for share in shares:
        for batch in share:
            assert len(batch) == 1 or len(batch) * lengths[batch].max() <= budget
    loads = [sum(int(lengths[batch].sum()) for batch in share) for share in shares]
    assert max(loads) - min(loads) <= lengths[rows].max()


def test_workers_share_tokens_not_texts():
    lengths = np.array([100, 20, 20, 20, 20, 20])
    shares = [micro_batches(np.arange(6), lengths, 100, rank=rank, world=2) for rank in range(2)]
    assert [sum(len(batch) for batch in share) for share in shares] == [1, 5]


def test_a_worker_without_a_row_has_no_batch():
    lengths = np.array([5, 3])
    shares = [micro_batches(np.array([0, 1]), lengths, 100, rank=rank, world=3) for rank in range(3)]
    assert [len(share) for share in shares] == [1, 1, 0]


def test_the_loss_of_a_step_does_not_depend_on_the_workers():
    lengths = np.random.default_rng(1).integers(1, 100, size=64)
    loss_of_row = np.random.default_rng(2).normal(size=64)
    rows = np.arange(64)

    def loss(world: int, budget: int) -> float:
        sums = [
            loss_of_row[batch].sum()
            for rank in range(world)
            for batch in micro_batches(rows, lengths, budget, rank=rank, world=world)
        ]
        return float(np.sum(sums) / len(rows))

    assert loss(1, 4096) == pytest.approx(loss(4, 256), rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(some_lengths, st.integers(1, 500), st.integers(1, 4))
def test_evaluation_has_every_row_once(lengths, budget, world):
    batches = [batch for rank in range(world) for batch in eval_batches(lengths, budget, rank, world)]
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert all(len(batch) == 1 or len(batch) * lengths[batch].max() <= budget for batch in batches)


def test_nothing_to_do():
    none = np.empty(0, dtype=np.int64)
    assert plan_steps(none, 8, seed=0, epoch=0) == []
    assert eval_batches(none, 100) == []
    assert micro_batches(none, none, 100, rank=0, world=2) == []


def test_collate():
    ids, mask = collate([np.array([5, 6, 7], dtype=np.uint16), np.array([8], dtype=np.uint16)], pad_id=9)
    assert ids.tolist() == [[5, 6, 7], [8, 9, 9]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert str(ids.dtype) == str(mask.dtype) == "torch.int64"
