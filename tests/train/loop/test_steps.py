import numpy as np
import pytest
import torch

from lft_ray.data.batches import micro_batches
from lft_ray.train.device.memory import OutOfMemoryError
from lft_ray.train.device.meter import Meter
from lft_ray.train.device.process_group import Group
from lft_ray.train.loop.evaluate import Batching
from lft_ray.train.loop.steps import Stepper


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


class MemoryHungry(torch.nn.Module):
    """A network that runs out of memory, as torch reports it, in passes of more than ``most`` tokens."""

    def __init__(self, network, most: int) -> None:
        super().__init__()
        self.network, self.most = network, most
        self.passes: list[int] = []

    def forward(self, ids, mask):
        self.passes.append(ids.numel())
        if ids.numel() > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nadvice")
        return self.network(ids, mask)


def stepper_of(job, network, tokens=400):
    stepper = Stepper(network, job.task, job.train, Batching(32, tokens, 0), job.training)
    stepper.connect(Group())
    return stepper


def test_a_step_that_does_not_fit_is_made_in_smaller_passes(loop_job):
    rows, job = np.arange(24), loop_job()
    plain = stepper_of(job, job.network)
    plain.take(rows, 1e-3, Meter())
    other = loop_job()
    hungry = MemoryHungry(other.network, most=210)
    stepper = stepper_of(other, hungry)
    stepper.take(rows, 1e-3, Meter())
    assert max(hungry.passes) > 210, "nothing was too large: the test shows nothing"
    assert stepper.micro_batch_tokens in {200, 100}
    assert float(stepper.loss_sum) == pytest.approx(float(plain.loss_sum), rel=1e-5)
    assert stepper.loss_weight == plain.loss_weight
    for one, two in zip(job.network.parameters(), other.network.parameters(), strict=True):
        torch.testing.assert_close(one, two, atol=2e-5, rtol=1e-4)
    tried = len(hungry.passes)
    stepper.take(rows, 1e-3, Meter())
    assert max(hungry.passes[tried:]) <= 210, "the next step begins with what fitted"


def test_a_step_that_never_fits_is_reported_after_two_halvings(loop_job):
    job = loop_job()
    hungry = MemoryHungry(job.network, most=10)
    with pytest.raises(OutOfMemoryError, match=r"passes of 100 tokens, halved 2 times: CUDA out of memory.*2.00 GiB.$"):
        stepper_of(job, hungry).take(np.arange(24), 1e-3, Meter())
    assert all(p.grad is None for p in job.network.parameters())


def test_other_errors_are_not_taken_for_memory(loop_job):
    job = loop_job()

    class Broken(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = job.network

        def forward(self, ids, mask):
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        stepper_of(job, Broken()).take(np.arange(4), 1e-3, Meter())
