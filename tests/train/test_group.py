"""Two real processes over gloo, without Ray: they must come to what one process comes to."""

import itertools
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lft_ray.records import TrialStatus
from lft_ray.train.group import Group, current_group
from lft_ray.train.loop import LoopJob, train
from lft_ray.train.meter import Meter
from lft_ray.train.trial import execute, run_trial
from tests.train.ranks import run_ranks

TOLERANCE = 1e-4
"""Relative, at each point of the curve, in fp32: sums come in another order. Measured: 2e-7 to 3e-6."""


def clock(stop_at: int | None) -> Callable[[], bool]:
    calls = itertools.count(1)
    return lambda: stop_at is not None and next(calls) >= stop_at


def run_rank(rank: int, folder: Path) -> None:
    jobs = pickle.loads((folder / "jobs.pkl").read_bytes())
    outcomes = []
    for job, stop_at in jobs:
        reported = []
        # Only rank 1's clock says stop: rank 0 must hear of it.
        result = train(replace(job, meter=Meter()), reported.append, clock(stop_at if rank == 1 else None))
        head = job.network.head.weight.detach().numpy()
        outcomes.append((result, reported, head))
    (folder / f"rank-{rank}.pkl").write_bytes(pickle.dumps(outcomes))


def two_ranks(folder: Path, jobs: list[tuple[LoopJob, int]]):
    (folder / "jobs.pkl").write_bytes(pickle.dumps([(replace(job, meter=None), stop_at) for job, stop_at in jobs]))
    run_ranks(run_rank, folder)
    return [pickle.loads((folder / f"rank-{rank}.pkl").read_bytes()) for rank in range(2)]


def test_two_processes_come_to_what_one_does(loop_job, tmp_path):
    kinds = [
        {},
        # One text a step: one of the two processes never has a row, and must not let the other wait.
        {"config": {"batch_size": 1, "epochs": 1, "learning_rate": 1e-3}},
        {"training": {"class_weights": "balanced", "micro_batch_tokens": 128}},
    ]
    alone = [train(job, lambda _: None, lambda: False) for job in (loop_job(**kind) for kind in kinds)]
    never = 10_000
    jobs = [
        *[(loop_job(**kind), never) for kind in kinds],
        (loop_job(), 7),
        (loop_job(config={"learning_rate": 1e30}), never),
    ]
    lead, other = two_ranks(tmp_path, jobs)
    worst = 0.0
    for one, (shared, reported, head), (_, unheard, twin) in zip(alone, lead, other, strict=False):
        assert shared.status is TrialStatus.DONE
        assert reported == shared.curve
        assert unheard == []
        assert np.array_equal(head, twin)
        assert [point.step for point in shared.curve] == [point.step for point in one.curve]
        for mine, theirs in zip(shared.curve, one.curve, strict=True):
            worst = max(worst, abs(mine.loss - theirs.loss) / theirs.loss)
            assert mine.f1 == pytest.approx(theirs.f1, rel=TOLERANCE)
            assert mine.train_loss == (theirs.train_loss and pytest.approx(theirs.train_loss, rel=TOLERANCE))
        assert shared.usage.tokens == one.usage.tokens
        np.testing.assert_allclose(shared.logits, one.logits, atol=1e-3)
    assert worst <= TOLERANCE
    print(f"greatest relative difference of a validation loss: {worst:.1e}")
    stopped, overflowed = lead[3][0], lead[4][0]
    assert (stopped.status, stopped.reason) == (TrialStatus.STOPPED, "the deadline came at step 7 of 24")
    assert overflowed.status is other[4][0].status is TrialStatus.INFEASIBLE


def test_a_group_of_one_talks_to_nobody():
    group = current_group()
    assert group == Group(0, 1, "cpu")
    assert group.leads
    assert group.total([1, 2.5]) == [1.0, 2.5]
    assert group.largest(3.0) == 3.0
    assert group.from_lead("x") == "x"
    rows = np.ones((2, 2), np.float32)
    assert group.merge(rows) is rows


def run_trial_rank(rank: int, folder: Path) -> None:
    job = pickle.loads((folder / "job.pkl").read_bytes())
    result = execute(job, lambda _: None, Meter())
    (folder / f"rank-{rank}.pkl").write_bytes(pickle.dumps(result))


def test_two_processes_share_the_pass_of_each_variant(trial_job, tmp_path):
    job = trial_job(config={"epochs": 1}, precisions=["fp32", "bf16"], max_lengths=[8])
    (tmp_path / "job.pkl").write_bytes(pickle.dumps(job))
    run_ranks(run_trial_rank, tmp_path)
    lead, other = (pickle.loads((tmp_path / f"rank-{rank}.pkl").read_bytes()) for rank in range(2))
    alone = run_trial(trial_job(trial_id="alone", config={"epochs": 1}, max_lengths=[8]), lambda _: None)
    assert [(v.max_length, v.precision) for v in lead.variants] == [(n, p) for n in (32, 8) for p in ("fp32", "bf16")]
    assert [v.metrics for v in other.variants] == [v.metrics for v in lead.variants]
    assert [v.f1 for v in lead.variants[::2]] == pytest.approx([v.f1 for v in alone.variants], rel=TOLERANCE)
    # Only the first writes.
    assert all(v.predictions_uri for v in lead.variants)
    assert not any(v.predictions_uri for v in other.variants)
