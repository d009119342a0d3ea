import numpy as np
import pytest
import torch

from lft_ray.data.batches import collate
from lft_ray.train.loop.evaluate import Batching, extract_features, predict, score

BATCHING = Batching(max_length=32, micro_batch_tokens=128, pad_id=0)


def test_predict_returns_rows_in_order(loop_job):
    job = loop_job()
    logits = predict(job.network, job.validation, BATCHING)
    for row in range(len(job.validation)):
        ids, mask = collate(job.validation.gather(np.array([row]), 32), 0)
        with torch.no_grad():
            alone = job.network.eval()(ids, mask).numpy()[0]
        np.testing.assert_allclose(logits[row], alone, atol=2e-5)


def test_micro_batch_size_does_not_change_predictions(loop_job):
    job = loop_job()
    wide = Batching(max_length=32, micro_batch_tokens=4096, pad_id=0)
    np.testing.assert_allclose(
        predict(job.network, job.validation, BATCHING), predict(job.network, job.validation, wide), atol=2e-5
    )


def test_served_bf16_leaves_the_network_alone(loop_job):
    job = loop_job()
    before = {name: value.clone() for name, value in job.network.state_dict().items()}
    exact = predict(job.network, job.validation, BATCHING)
    rounded = predict(job.network, job.validation, BATCHING, "bf16")
    assert rounded.dtype == np.float32
    assert 0 < np.abs(rounded - exact).max() < 0.1
    assert all(torch.equal(value, before[name]) for name, value in job.network.state_dict().items())
    assert {p.dtype for p in job.network.parameters()} == {torch.float32}


def test_features_of_chosen_rows(loop_job):
    job = loop_job()
    every = extract_features(job.network, job.train, BATCHING)
    rows = np.array([50, 3, 7])
    np.testing.assert_allclose(extract_features(job.network, job.train, BATCHING, rows), every[rows], atol=2e-5)


def test_predict_restores_training_mode(loop_job):
    job = loop_job()
    job.network.train()
    predict(job.network, job.validation, BATCHING)
    assert job.network.training


def test_score_is_the_mean_loss(loop_job):
    job = loop_job()
    targets = np.asarray(job.validation.targets)
    scores = score(job.task, targets, np.zeros((len(targets), 3), np.float32))
    assert scores.loss == pytest.approx(np.log(3), rel=1e-6)
    assert set(scores.metrics) == {"macro_f1", "micro_f1", "weighted_f1", "accuracy"}
