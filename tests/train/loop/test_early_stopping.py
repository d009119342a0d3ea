"""A trial that ends itself: when it does, and that it is what it says it is."""

import numpy as np
import pytest
import torch

from lft_ray.config.methods import EarlyStoppingSpec
from lft_ray.records import TrialStatus
from lft_ray.train.loop.evaluate import Batching, predict
from lft_ray.train.loop.loop import train
from lft_ray.train.loop.schedule import stops_early
from lft_ray.train.methods.vocabulary import train_seen_tokens
from lft_ray.train.trial import run_trial

BATCHING = Batching(max_length=32, micro_batch_tokens=256, pad_id=0)
# Nothing gains half a point of 1 over the first pass, so each trial ends two passes after it.
SOON = {"evaluations": 6, "early_stopping": EarlyStoppingSpec(patience=2, min_delta=0.5)}


@pytest.mark.parametrize(
    ("scores", "patience", "min_delta", "expected"),
    [
        ([], 1, 0.0, False),
        ([0.5], 1, 0.0, False),
        ([0.5, 0.5], 1, 0.0, True),
        ([0.5, 0.5], 2, 0.0, False),
        ([0.5, 0.4, 0.6], 2, 0.0, False),
        ([0.5, 0.4, 0.6, 0.6, 0.59], 2, 0.0, True),
        ([0.5, 0.51, 0.52], 2, 0.03, True),
        # Small gains add up: what counts is the distance to the best that was counted.
        ([0.5, 0.51, 0.54], 2, 0.03, False),
        ([0.0, 0.0], 1, 0.0, True),
    ],
)
def test_it_ends_after_so_many_passes_without_a_gain(scores, patience, min_delta, expected):
    assert stops_early(scores, EarlyStoppingSpec(patience=patience, min_delta=min_delta)) is expected
    assert not stops_early(scores, None)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_is_done_as_it_is_then(loop_job, precision):
    job = loop_job(training=SOON, final_precision=precision)
    result = train(job, lambda _: None, lambda: False)
    assert result.status is TrialStatus.DONE
    assert result.reason == "ended itself at 50% of its schedule: no gain in 2 validation passes"
    assert [(point.step, round(point.fraction, 3)) for point in result.curve] == [
        (0, 0.0),
        (4, 0.167),
        (8, 0.333),
        (12, 0.5),
    ]
    np.testing.assert_allclose(result.logits, predict(job.network, job.validation, BATCHING, precision), atol=1e-5)
    assert result.metrics["macro_f1"] == result.curve[-1].f1


def test_up_to_its_end_it_is_the_run_that_would_have_gone_on(loop_job):
    whole = train(loop_job(training={"evaluations": 6}), lambda _: None, lambda: False)
    ended = train(loop_job(training=SOON), lambda _: None, lambda: False)
    assert [p.f1 for p in ended.curve] == [p.f1 for p in whole.curve[:4]]
    assert ended.usage.tokens == pytest.approx(0.5 * whole.usage.tokens, rel=0.1)
    assert whole.reason == ""


def test_rows_that_no_text_has_decay_by_the_steps_taken(loop_job):
    def unmet(**training):
        job = loop_job(training={"weight_decay": 0.5} | training)
        table = job.network.backbone.tokens
        more = torch.ones(120, table.embedding_dim)
        job.network.backbone.tokens = torch.nn.Embedding.from_pretrained(
            torch.cat([table.weight.detach(), more]), False
        )
        train_seen_tokens(job, lambda _: None, lambda: False)
        return float(job.network.backbone.tokens.weight.detach()[-1, 0])

    assert 1.0 > unmet(**SOON) > unmet(evaluations=6)


def test_a_trial_that_ended_itself_leaves_all_that_a_done_one_does(trial_job):
    result = run_trial(trial_job(training=SOON, precisions=["bf16", "fp32"]), lambda _: None)
    assert result.status is TrialStatus.DONE
    assert result.curve[-1].fraction == pytest.approx(0.5)
    assert "50%" in result.reason
    assert [v.precision for v in result.variants] == ["bf16", "fp32"]
    assert result.variants[0].f1 == result.curve[-1].f1
    assert result.checkpoint_uri


def test_a_resumed_trial_ends_where_an_undisturbed_one_does(trial_job):
    settings = SOON | {"checkpoint_every_s": 0.0}

    def crash(point):
        if point["step"] == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_trial(trial_job(training=settings), crash)
    resumed = run_trial(trial_job(training=settings, attempt=2), lambda _: None)
    undisturbed = run_trial(trial_job(trial_id="other", training=settings), lambda _: None)
    assert [(p.step, p.f1) for p in resumed.curve] == [(p.step, p.f1) for p in undisturbed.curve]
    assert resumed.reason == undisturbed.reason != ""
