"""Two and four real processes over gloo, without Ray: they must reach the result of a single process."""

import copy
import itertools
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lft_ray.records import TrialStatus
from lft_ray.run.storage import Storage
from lft_ray.train.device.meter import Meter
from lft_ray.train.device.process_group import Group, current_group
from lft_ray.train.loop.checkpoint import StateStore
from lft_ray.train.loop.job import LoopJob
from lft_ray.train.loop.loop import train
from lft_ray.train.methods.vocabulary import train_seen_tokens
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
        reported: list[Any] = []
        # Only should_stop of rank 1 returns True: rank 0 must stop as well.
        run = train if isinstance(job.network, MemoryHungry) else train_seen_tokens
        result = run(replace(job, meter=Meter()), reported.append, clock(stop_at if rank == 1 else None))
        tensors = (job.network.head.weight, next(job.network.parameters()))
        outcomes.append((result, reported, [tensor.detach().numpy() for tensor in tensors]))
    (folder / f"rank-{rank}.pkl").write_bytes(pickle.dumps(outcomes))


def run_jobs(folder: Path, jobs: list[tuple[LoopJob, int]], world: int = 2):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "jobs.pkl").write_bytes(pickle.dumps([(replace(job, meter=None), stop_at) for job, stop_at in jobs]))
    run_ranks(run_rank, folder, world)
    return [pickle.loads((folder / f"rank-{rank}.pkl").read_bytes()) for rank in range(world)]


def with_unseen_tokens(job: LoopJob) -> LoopJob:
    table: Any = job.network.backbone.tokens
    unseen = torch.randn(120, table.embedding_dim, generator=torch.Generator().manual_seed(5))
    job.network.backbone.tokens = torch.nn.Embedding.from_pretrained(
        torch.cat([table.weight.detach(), unseen]), freeze=False
    )
    return job


NEVER = 10_000
KINDS = [
    {},
    # One text per step: all processes but one have no rows, and must not leave the others waiting.
    {"config": {"batch_size": 1, "epochs": 1, "learning_rate": 1e-3}},
    {"training": {"class_weights": "balanced", "micro_batch_tokens": 128}},
    # 119 rows in batches of 9: two rows in the last step, and two or three per process before it.
    {"config": {"batch_size": 9, "epochs": 2}},
]


@pytest.mark.parametrize(
    ("world", "sharding", "kinds"),
    [(2, "ddp", KINDS), (4, "ddp", KINDS[1::2]), (2, "fsdp", KINDS[2:]), (4, "fsdp", KINDS[3:])],
)
def test_several_processes_reach_the_result_of_one(loop_job, tmp_path, world, sharding, kinds):
    whole = [with_unseen_tokens(loop_job(**kind)) for kind in kinds]
    alone = [train(job, lambda _: None, lambda: False) for job in whole]

    def job(kind):
        # The processes train only the embedding rows that occur in the data, but must return the whole table.
        return with_unseen_tokens(loop_job(**(kind | {"training": kind.get("training", {}) | {"sharding": sharding}})))

    jobs = [
        *[(job(kind), NEVER) for kind in kinds],
        (job({}), 7),
        (job({"config": {"learning_rate": 1e30}}), NEVER),
    ]
    lead, *others = run_jobs(tmp_path, jobs, world)
    worst = 0.0
    for one, job, (shared, reported, weights), *rest in zip(alone, whole, lead, *others, strict=False):
        assert shared.status is TrialStatus.DONE, shared.reason
        assert reported == shared.curve
        for _, unreported, twins in rest:
            assert unreported == []
            assert all(np.array_equal(mine, twin) for mine, twin in zip(weights, twins, strict=True))
        for mine, theirs in zip(weights, (job.network.head.weight, next(job.network.parameters())), strict=True):
            np.testing.assert_allclose(mine, theirs.detach().numpy(), atol=1e-3)
        assert [point.step for point in shared.curve] == [point.step for point in one.curve]
        for mine, theirs in zip(shared.curve, one.curve, strict=True):
            worst = max(worst, abs(mine.loss - theirs.loss) / theirs.loss)
            assert mine.f1 == pytest.approx(theirs.f1, rel=TOLERANCE)
            assert mine.train_loss == (theirs.train_loss and pytest.approx(theirs.train_loss, rel=TOLERANCE))
        assert shared.usage.tokens == one.usage.tokens
        np.testing.assert_allclose(shared.logits, one.logits, atol=1e-3)
    print(f"greatest relative difference of a validation loss: {worst:.1e}")
    assert worst <= TOLERANCE
    stopped, overflowed = lead[-2][0], lead[-1][0]
    assert (stopped.status, stopped.reason) == (TrialStatus.STOPPED, "stopped at the deadline, at step 7 of 24")
    assert {rank[-1][0].status for rank in (lead, *others)} == {TrialStatus.INFEASIBLE}
    assert "not finite" in overflowed.reason


class MemoryHungry(torch.nn.Module):
    """A network that, on rank 1 alone, runs out of memory in training passes of more than ``most`` tokens."""

    def __init__(self, network, most: int, most_scored: int = 10_000, ranks: tuple[int, ...] = (1,)) -> None:
        super().__init__()
        self.network, self.most, self.most_scored, self.ranks = network, most, most_scored, ranks

    @property
    def head(self):
        return self.network.head

    def forward(self, ids, mask):
        if current_group().rank in self.ranks and ids.numel() > (self.most if self.training else self.most_scored):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nadvice")
        return self.network(ids, mask)


def test_out_of_memory_in_one_process_reaches_all(loop_job, tmp_path):
    plain = {"training": {"head_init": "random"}, "config": {"epochs": 1}}
    alone = train(loop_job(**plain), lambda _: None, lambda: False)

    def hungry(**limits):
        job = loop_job(**plain)
        return replace(job, network=MemoryHungry(job.network, **limits)), NEVER

    lead, other = run_jobs(tmp_path, [hungry(most=100), hungry(most=2), hungry(most=10_000, most_scored=2)])
    retried, never, unscored = (result for result, _, _ in lead)
    assert retried.status is TrialStatus.DONE, retried.reason
    for mine, theirs in zip(retried.curve, alone.curve, strict=True):
        assert mine.loss == pytest.approx(theirs.loss, rel=TOLERANCE)
    assert np.array_equal(lead[0][2][0], other[0][2][0])
    for result in (never, unscored, other[1][0], other[2][0]):
        assert result.status is TrialStatus.INFEASIBLE
        assert result.usage.peak_bytes > 0
    assert "halved 2 times" in never.reason
    assert "another process of this trial" in unscored.reason
    assert "2.00 GiB" in other[2][0].reason


def restarting_rank(rank: int, folder: Path) -> None:
    """Run sessions one after another, like restarted worker groups, until one does not run out of memory."""
    outcomes = []
    for job in pickle.loads((folder / "jobs.pkl").read_bytes()):
        for session in itertools.count(1):
            try:
                result = train(replace(copy.deepcopy(job), meter=Meter()), lambda _: None, lambda: False)
            except torch.OutOfMemoryError:
                continue
            outcomes.append((session, result))
            break
    (folder / f"rank-{rank}.pkl").write_bytes(pickle.dumps(outcomes))


def test_out_of_memory_in_shards_shrinks_the_passes_of_the_next_group(loop_job, tmp_path):
    plain = {"training": {"head_init": "random", "sharding": "fsdp"}, "config": {"epochs": 1}}
    alone = train(loop_job(**plain), lambda _: None, lambda: False)

    def hungry(most: int):
        job = loop_job(**plain, states=StateStore(Storage(tmp_path / f"state-{most}"), "key"))
        return replace(job, network=MemoryHungry(job.network, most, ranks=(0, 1)), meter=None)

    (tmp_path / "jobs.pkl").write_bytes(pickle.dumps([hungry(100), hungry(2)]))
    run_ranks(restarting_rank, tmp_path)
    for rank in (0, 1):
        (sessions, retried), (most_sessions, never) = pickle.loads((tmp_path / f"rank-{rank}.pkl").read_bytes())
        assert 2 <= sessions <= 3
        assert retried.status is TrialStatus.DONE, retried.reason
        for mine, theirs in zip(retried.curve, alone.curve, strict=True):
            assert mine.loss == pytest.approx(theirs.loss, rel=TOLERANCE)
        assert most_sessions == 4
        assert never.status is TrialStatus.INFEASIBLE
        assert "halved 2 times" in never.reason
        assert never.usage.peak_bytes > 0


class CrashError(Exception):
    pass


def crash_at(step: int) -> Callable[[], bool]:
    calls = itertools.count(1)

    def should_stop() -> bool:
        if next(calls) == step:
            raise CrashError
        return False

    return should_stop


def save_rank(rank: int, folder: Path) -> None:
    del rank
    with pytest.raises(CrashError):
        train(replace(pickle.loads((folder / "job.pkl").read_bytes()), meter=Meter()), print, crash_at(13))


def resume_rank(rank: int, folder: Path) -> None:
    job = replace(pickle.loads((folder / "job.pkl").read_bytes()), meter=Meter())
    result = train(job, lambda _: None, lambda: False)
    (folder / f"rank-{rank}.pkl").write_bytes(pickle.dumps(result))


@pytest.mark.parametrize(("saved_as", "resumed_as"), [("ddp", "fsdp"), ("fsdp", "ddp")])
def test_a_checkpoint_of_two_processes_is_resumed_by_one_and_by_four(loop_job, tmp_path, saved_as, resumed_as):
    uninterrupted = train(loop_job(), lambda _: None, lambda: False)

    def stored(name: str, sharding: str):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        states = StateStore(Storage(folder / "state"), "key")
        job = loop_job(training={"checkpoint_every_s": 0.0, "sharding": sharding}, states=states)
        (folder / "job.pkl").write_bytes(pickle.dumps(replace(job, meter=None)))
        return folder, job

    two, _ = stored("two", saved_as)
    run_ranks(save_rank, two, 2)
    (state,) = [path.parent for path in two.glob("state/*/state.json")]
    parts = {f"part-{n:04d}.safetensors" for n in (0, 1)} | {f"sum-{n:04d}.json" for n in (0, 1)}
    assert {path.name for path in state.iterdir()} == parts | {"state.json"}
    sizes = sorted(path.stat().st_size for path in state.glob("part-*"))
    assert sizes[1] < 1.2 * sizes[0], "each process writes its half"
    shutil.copytree(two / "state", tmp_path / "one" / "state")
    shutil.copytree(two / "state", tmp_path / "four" / "state")
    alone = train(stored("one", "ddp")[1], lambda _: None, lambda: False)
    four, _ = stored("four", resumed_as)
    run_ranks(resume_rank, four, 4)
    results = [alone, pickle.loads((four / "rank-0.pkl").read_bytes())]
    for result in results:
        assert result.usage.tokens < 1.2 * uninterrupted.usage.tokens, "training did not resume from the checkpoint"
        assert [point.step for point in result.curve] == [point.step for point in uninterrupted.curve]
        for mine, theirs in zip(result.curve, uninterrupted.curve, strict=True):
            assert mine.loss == pytest.approx(theirs.loss, rel=TOLERANCE)
            assert mine.train_loss == (theirs.train_loss and pytest.approx(theirs.train_loss, rel=TOLERANCE))


def test_a_group_of_one_returns_its_own_values():
    group = current_group()
    assert group == Group(0, 1, "cpu")
    assert group.is_lead
    assert group.all_sum([1, 2.5]) == [1.0, 2.5]
    assert group.all_max(3.0) == 3.0
    assert group.broadcast("x") == "x"
    rows = np.ones((2, 2), np.float32)
    assert group.sum_rows(rows) is rows


def run_trial_rank(rank: int, folder: Path) -> None:
    job = pickle.loads((folder / "job.pkl").read_bytes())
    result = execute(job, lambda _: None, Meter())
    (folder / f"rank-{rank}.pkl").write_bytes(pickle.dumps(result))


def weights_of(uri: str) -> dict[str, torch.Tensor]:
    return load_file(str(next(Path(uri).rglob("*.safetensors"))))


@pytest.mark.parametrize("sharding", ["ddp", "fsdp"])
def test_two_processes_share_the_evaluation_of_each_variant(trial_job, tmp_path, sharding):
    precisions = ["fp32", "bf16"]
    job = trial_job(config={"epochs": 1}, precisions=precisions, max_lengths=[8], training={"sharding": sharding})
    (tmp_path / "job.pkl").write_bytes(pickle.dumps(job))
    run_ranks(run_trial_rank, tmp_path)
    lead, other = (pickle.loads((tmp_path / f"rank-{rank}.pkl").read_bytes()) for rank in range(2))
    alone = run_trial(trial_job(trial_id="alone", config={"epochs": 1}, max_lengths=[8]), lambda _: None)
    assert [(v.max_length, v.precision) for v in lead.variants] == [(n, p) for n in (32, 8) for p in ("fp32", "bf16")]
    assert [v.metrics for v in other.variants] == [v.metrics for v in lead.variants]
    assert [v.f1 for v in lead.variants[::2]] == pytest.approx([v.f1 for v in alone.variants], rel=TOLERANCE)
    # Only rank 0 writes.
    assert all(v.predictions_uri for v in lead.variants)
    assert not any(v.predictions_uri for v in other.variants)
    saved, wanted = weights_of(lead.checkpoint_uri), weights_of(alone.checkpoint_uri)
    assert saved.keys() == wanted.keys()
    for name, tensor in saved.items():
        torch.testing.assert_close(tensor, wanted[name], atol=1e-3, rtol=1e-3)
