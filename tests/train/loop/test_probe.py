import numpy as np
from sklearn.linear_model import LogisticRegression

from lft_ray.tasks.classification import Classification
from lft_ray.tasks.multilabel import Multilabel
from lft_ray.train.loop import probe
from lft_ray.train.loop.evaluate import Batching, predict, score
from lft_ray.train.loop.probe import fit_head, initial_head

BATCHING = Batching(max_length=32, micro_batch_tokens=256, pad_id=0)


def features_and_targets(rows=600, width=12):
    random = np.random.default_rng(0)
    targets = random.integers(0, 3, rows)
    scales, offsets = random.uniform(10, 50, width), random.normal(0, 30, width)
    return ((random.normal(size=(rows, width)) + 2 * np.eye(3, width)[targets]) * scales + offsets).astype(
        np.float32
    ), targets


def test_fit_head_equals_logistic_regression_on_standardised_features():
    features, targets = features_and_targets()
    weight, bias = fit_head(features, targets, Classification(["a", "b", "c"]), None, prior=100.0)
    mean, spread = features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64)
    # scikit-learn minimises C x sum + 1/2 ||W||^2: C = 1 / prior.
    reference = LogisticRegression(C=1 / 100, tol=1e-8, max_iter=2000).fit((features - mean) / spread, targets)
    wanted = reference.predict_proba((features - mean) / spread)
    logits = (features.astype(np.float64) @ weight.T + bias).astype(np.float32)
    np.testing.assert_allclose(Classification(["a", "b", "c"]).probabilities(logits), wanted, atol=2e-3)


def test_a_constant_feature_does_no_harm():
    features, targets = features_and_targets()
    features[:, 0] = 3.0
    weight, bias = fit_head(features, targets, Classification(["a", "b", "c"]), None)
    assert np.isfinite(weight).all()
    assert np.isfinite(bias).all()
    assert abs((features @ weight.T + bias).mean()) < 10


def test_a_feature_that_hardly_varies_gets_no_large_weight():
    features, targets = features_and_targets()
    task = Classification(["a", "b", "c"])
    features[:, 5] = 3.0 + 1e-3 * (targets == 1) + 1e-4 * features[:, 5]
    features[:, 6] = 3.0
    weight, bias = fit_head(features, targets, task, None)
    others = np.abs(np.delete(weight, [5, 6], axis=1)).max()
    assert np.abs(weight[:, 5]).max() < 2 * others
    assert task.metrics(targets, features @ weight.T + bias)["macro_f1"] > 0.75


def test_features_of_like_deviations_are_divided_by_their_own():
    features, _ = features_and_targets()
    np.testing.assert_array_equal(probe._spread(features), features.std(axis=0, dtype=np.float64))


def test_features_that_are_all_constant_are_no_error():
    features = np.full((30, 4), 2.0, dtype=np.float32)
    weight, bias = fit_head(features, np.arange(30) % 3, Classification(["a", "b", "c"]), None)
    assert np.isfinite(weight).all()
    assert np.isfinite(bias).all()


def test_class_weights_move_the_rare_label():
    features, targets = features_and_targets()
    keep = (targets != 0) | (np.arange(len(targets)) % 10 == 0)
    features, targets = features[keep], targets[keep]
    task = Classification(["a", "b", "c"])
    plain = features @ fit_head(features, targets, task, None)[0].T
    weight, bias = fit_head(features, targets, task, task.class_weights(targets))
    weighted = features @ weight.T + bias
    rare = targets == 0
    assert task.metrics(targets, weighted)["macro_f1"] > 0.5
    assert (weighted[rare].argmax(1) == 0).mean() > (plain[rare].argmax(1) == 0).mean() - 1e-9


def test_fit_head_for_multilabel_targets():
    features, targets = features_and_targets()
    wanted = np.eye(3, dtype=np.float32)[targets]
    weight, bias = fit_head(features, wanted, Multilabel(["a", "b", "c"]), None)
    assert Multilabel(["a", "b", "c"]).metrics(wanted, features @ weight.T + bias)["micro_f1"] > 0.75


def test_initial_head_gives_the_network_the_scores_of_the_probe(loop_job):
    job = loop_job()
    fitted = initial_head(job.network, job.task, (job.train, job.validation), BATCHING)
    through_network = predict(job.network, job.validation, BATCHING)
    np.testing.assert_allclose(through_network, fitted.validation_logits, atol=1e-4)
    targets = np.asarray(job.validation.targets)
    assert score(job.task, targets, through_network).metrics["macro_f1"] > 0.5


def test_only_some_rows_of_a_large_split_are_used(loop_job, monkeypatch):
    monkeypatch.setattr(probe, "PROBE_ROWS", 40)
    job = loop_job()
    fitted = initial_head(job.network, job.task, (job.train, job.validation), BATCHING)
    assert fitted.validation_logits.shape == (len(job.validation), 3)
    assert np.isfinite(fitted.weight).all()
