import numpy as np
import pytest
import torch

from lft_ray.errors import ConfigError
from lft_ray.records import TrialStatus
from lft_ray.train.device.precision import native_bf16
from lft_ray.train.loop.evaluate import Batching, predict
from lft_ray.train.loop.loop import evaluation_steps, train


def never() -> bool:
    return False


def test_loss_falls_and_every_point_is_reported(loop_job):
    seen = []
    result = train(loop_job(), seen.append, never)
    assert result.status is TrialStatus.DONE
    assert seen == result.curve
    assert [point.fraction for point in seen] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert [point.step for point in seen] == [0, 8, 16, 24]
    losses = [point.train_loss for point in seen[1:]]
    assert seen[0].train_loss is None
    assert losses[0] > losses[1] > losses[2]
    assert seen[-1].loss < seen[0].loss
    assert seen[-1].f1 > 0.8
    assert result.metrics["macro_f1"] == seen[-1].f1
    assert [point.train_s for point in seen] == sorted(point.train_s for point in seen)


def test_last_pass_is_the_trained_network(loop_job):
    job = loop_job()
    result = train(job, lambda _: None, never)
    again = predict(job.network, job.validation, Batching(32, 256, 0))
    np.testing.assert_allclose(result.logits, again, atol=1e-5)


def test_usage_is_measured(loop_job):
    job = loop_job()
    usage = train(job, lambda _: None, never).usage
    assert usage.tokens == 3 * int(job.train.lengths(32).sum())
    assert usage.tokens <= usage.padded_tokens < 1.3 * usage.tokens
    assert usage.core_s > 0
    assert min(usage.train_s, usage.eval_s) > 0
    assert usage.train_s + usage.eval_s <= usage.wall_s
    assert usage.device_s == 0


def test_same_seed_same_weights_other_seed_other_order(loop_job):
    curves = [train(loop_job(config={"seed": seed}), lambda _: None, never).curve for seed in (0, 0, 1)]
    values = [[(point.f1, point.loss) for point in curve] for curve in curves]
    assert values[0] == values[1] != values[2]


def test_random_head_has_no_point_before_training(loop_job):
    result = train(loop_job(training={"head_init": "random"}), lambda _: None, never)
    assert [point.step for point in result.curve] == [8, 16, 24]


def test_several_labels(loop_job, tags):
    result = train(loop_job(record=tags, config={"epochs": 4}), lambda _: None, never)
    assert result.status is TrialStatus.DONE
    assert result.logits.shape == (60, 3)
    assert result.metrics["macro_f1"] > 0.75


def test_a_non_finite_loss_is_infeasible(loop_job):
    result = train(loop_job(config={"learning_rate": 1e30}), lambda _: None, never)
    assert result.status is TrialStatus.INFEASIBLE
    assert "not finite" in result.reason
    assert result.logits is None
    assert result.usage.core_s > 0


def test_too_little_memory_is_infeasible_and_counted(loop_job):
    job = loop_job(training={"micro_batch_tokens": 512})

    def forward(ids, mask):
        if torch.is_grad_enabled():
            raise torch.OutOfMemoryError("Tried to allocate 2.00 GiB.")
        return type(job.network).forward(job.network, ids, mask)

    job.network.forward = forward
    result = train(job, lambda _: None, never)
    assert result.status is TrialStatus.INFEASIBLE
    assert "passes of 128 tokens" in result.reason
    assert "2.00 GiB" in result.reason
    assert result.usage.peak_bytes > 0
    assert [point.fraction for point in result.curve] == [0.0]


def test_deadline_stops_between_steps(loop_job):
    calls = iter(range(100))
    result = train(loop_job(), lambda _: None, lambda: next(calls) >= 10)
    assert result.status is TrialStatus.STOPPED
    assert result.reason == "stopped at the deadline, at step 11 of 24"
    assert [point.step for point in result.curve] == [0, 8]
    assert result.logits is None


def test_should_stop_at_the_last_step_still_ends_as_done(loop_job):
    calls = iter(range(100))
    assert train(loop_job(), lambda _: None, lambda: next(calls) >= 23).status is TrialStatus.DONE


@pytest.mark.skipif(not native_bf16("cpu"), reason="this processor computes no bf16")
def test_bf16_keeps_float32_weights(loop_job):
    job = loop_job(dtype="bf16")
    result = train(job, lambda _: None, never)
    assert {p.dtype for p in job.network.parameters()} == {torch.float32}
    assert result.curve[-1].f1 > 0.75


def test_served_precision_of_the_last_pass(loop_job):
    job = loop_job(final_precision="bf16")
    result = train(job, lambda _: None, never)
    np.testing.assert_array_equal(result.logits, predict(job.network, job.validation, Batching(32, 256, 0), "bf16"))


def test_training_requires_its_hyperparameters(loop_job):
    with pytest.raises(ConfigError, match="learning_rate"):
        train(loop_job(config={"epochs": None}), lambda _: None, never)


@pytest.mark.parametrize(("total", "evaluations"), [(1, 3), (2, 3), (3, 3), (100, 3), (7, 50), (9, 1)])
def test_the_last_evaluation_is_at_the_end(total, evaluations):
    steps = evaluation_steps(total, evaluations)
    assert steps[total] == 1.0
    assert all(1 <= step <= total for step in steps)
    assert len(steps) == min(total, evaluations)
