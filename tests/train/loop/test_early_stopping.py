"""Early stopping of a run: the result is that of the shortened run, in every respect."""

import numpy as np
import pytest
import torch

from lft_ray.config.methods import EarlyStoppingSpec
from lft_ray.records import TrialStatus
from lft_ray.train.loop.evaluate import Batching, predict
from lft_ray.train.loop.loop import train
from lft_ray.train.methods.vocabulary import train_seen_tokens
from lft_ray.train.trial import run_trial

BATCHING = Batching(max_length=32, micro_batch_tokens=256, pad_id=0)
# No pass improves on the first by 0.5, so each run stops two passes after it.
SOON = {"evaluations": 6, "early_stopping": EarlyStoppingSpec(patience=2, min_delta=0.5)}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_early_stopped_run_is_done_and_scores_its_last_weights(loop_job, precision):
    job = loop_job(training=SOON, final_precision=precision)
    result = train(job, lambda _: None, lambda: False)
    assert result.status is TrialStatus.DONE
    assert result.reason == "stopped early at 50% of the schedule: no improvement in 2 validation passes"
    assert [(point.step, round(point.fraction, 3)) for point in result.curve] == [
        (0, 0.0),
        (4, 0.167),
        (8, 0.333),
        (12, 0.5),
    ]
    np.testing.assert_allclose(result.logits, predict(job.network, job.validation, BATCHING, precision), atol=1e-5)
    assert result.metrics["macro_f1"] == result.curve[-1].f1


def test_an_early_stopped_run_equals_the_full_run_up_to_its_end(loop_job):
    whole = train(loop_job(training={"evaluations": 6}), lambda _: None, lambda: False)
    ended = train(loop_job(training=SOON), lambda _: None, lambda: False)
    assert [p.f1 for p in ended.curve] == [p.f1 for p in whole.curve[:4]]
    assert ended.usage.tokens == pytest.approx(0.5 * whole.usage.tokens, rel=0.1)
    assert whole.reason == ""


def test_unseen_token_rows_decay_by_the_steps_taken(loop_job):
    def unseen(**training):
        job = loop_job(training={"weight_decay": 0.5} | training)
        table = job.network.backbone.tokens
        more = torch.ones(120, table.embedding_dim)
        job.network.backbone.tokens = torch.nn.Embedding.from_pretrained(
            torch.cat([table.weight.detach(), more]), False
        )
        train_seen_tokens(job, lambda _: None, lambda: False)
        return float(job.network.backbone.tokens.weight.detach()[-1, 0])

    assert 1.0 > unseen(**SOON) > unseen(evaluations=6)


def test_an_early_stopped_trial_leaves_all_files_of_a_full_one(trial_job):
    result = run_trial(trial_job(training=SOON, precisions=["bf16", "fp32"]), lambda _: None)
    assert result.status is TrialStatus.DONE
    assert result.curve[-1].fraction == pytest.approx(0.5)
    assert "50%" in result.reason
    assert [v.precision for v in result.variants] == ["bf16", "fp32"]
    assert result.variants[0].f1 == result.curve[-1].f1
    assert result.checkpoint_uri


def test_a_resumed_trial_stops_early_at_the_same_step(trial_job):
    settings = SOON | {"checkpoint_every_s": 0.0}

    def crash(point):
        if point["step"] == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_trial(trial_job(training=settings), crash)
    resumed = run_trial(trial_job(training=settings, attempt=2), lambda _: None)
    uninterrupted = run_trial(trial_job(trial_id="other", training=settings), lambda _: None)
    assert [(p.step, p.f1) for p in resumed.curve] == [(p.step, p.f1) for p in uninterrupted.curve]
    assert resumed.reason == uninterrupted.reason != ""
