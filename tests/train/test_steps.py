import numpy as np
import pytest
import torch

from lft_ray.data.batches import micro_batches
from lft_ray.train.evaluate import Batching
from lft_ray.train.group import Group
from lft_ray.train.meter import Meter
from lft_ray.train.steps import Stepper


def gradients(job, tokens: int, rows: np.ndarray) -> list[torch.Tensor]:
    batching = Batching(job.config.max_length, tokens, job.pad_id)
    stepper = Stepper(job.network, job.task, job.train, batching, job.training)
    stepper.connect(Group())
    stepper.accumulate(rows, micro_batches(rows, stepper.lengths, tokens))
    return [p.grad.clone() for p in job.network.parameters() if p.grad is not None]


@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_micro_batches_leave_the_gradient_unchanged(loop_job, class_weights):
    rows = np.arange(33)
    whole, cut, single = (
        gradients(loop_job(training={"class_weights": class_weights}), tokens, rows) for tokens in (100_000, 200, 1)
    )
    assert len(whole) == len(cut) > 20
    for one, other, third in zip(whole, cut, single, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(one, third, atol=1e-6, rtol=1e-4)


def test_class_weights_make_the_weighted_mean(loop_job):
    job = loop_job(training={"class_weights": "balanced"})
    rows = np.arange(0, 40, 3)  # one topic more often than it is in the whole split
    stepper = Stepper(job.network, job.task, job.train, Batching(32, 4096, 0), job.training)
    stepper.connect(Group())
    stepper.accumulate(rows, [rows])
    from lft_ray.data.batches import collate

    ids, mask = collate(job.train.gather(rows, 32), 0)
    targets = torch.from_numpy(np.asarray(job.train.targets)[rows])
    weights = torch.from_numpy(job.task.class_weights(np.asarray(job.train.targets)))
    mean = torch.nn.functional.cross_entropy(job.network(ids, mask), targets, weight=weights)
    assert float(stepper.loss_sum) / stepper.loss_weight == pytest.approx(mean.item(), rel=1e-5)


def test_a_step_counts_tokens_and_clips(loop_job):
    job = loop_job(training={"clip_norm": 1e-3})
    stepper = Stepper(job.network, job.task, job.train, Batching(32, 100, 0), job.training)
    stepper.connect(Group())
    meter = Meter()
    stepper.take(np.arange(10), 1e-3, meter)
    own = meter.own()
    assert own.tokens == int(job.train.lengths(32)[:10].sum())
    assert own.padded_tokens >= own.tokens
    assert float(stepper.norm) > 1e-3
    clipped = torch.cat([p.grad.flatten() for p in job.network.parameters() if p.grad is not None]).norm()
    assert float(clipped) == pytest.approx(1e-3, rel=1e-2)
