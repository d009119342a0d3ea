from collections import OrderedDict

import numpy as np
from sklearn.linear_model import LogisticRegression

from lft_ray.tasks.classification import Classification
from lft_ray.tasks.multilabel import Multilabel
from lft_ray.train.loop import probe, probe_cache
from lft_ray.train.loop.activations import ActivationStore
from lft_ray.train.loop.evaluate import Batching, predict, score
from lft_ray.train.loop.probe import fit_head, initial_head
from lft_ray.train.loop.probe_cache import ProbeCache

BATCHING = Batching(max_length=32, micro_batch_tokens=256, pad_id=0)


def features_and_targets(rows=600, width=12):
    random = np.random.default_rng(0)
    targets = random.integers(0, 3, rows)
    scales, offsets = random.uniform(0.01, 50, width), random.normal(0, 30, width)
    return ((random.normal(size=(rows, width)) + 2 * np.eye(3, width)[targets]) * scales + offsets).astype(
        np.float32
    ), targets


def test_equals_logistic_regression_on_standardised_features():
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


def test_several_labels():
    features, targets = features_and_targets()
    wanted = np.eye(3, dtype=np.float32)[targets]
    weight, bias = fit_head(features, wanted, Multilabel(["a", "b", "c"]), None)
    assert Multilabel(["a", "b", "c"]).metrics(wanted, features @ weight.T + bias)["micro_f1"] > 0.75


def test_head_start_gives_the_network_the_scores_of_the_probe(loop_job):
    job = loop_job()
    fitted = initial_head(job.network, job.task, (job.train, job.validation), BATCHING)
    through_network = predict(job.network, job.validation, BATCHING)
    np.testing.assert_allclose(through_network, fitted.validation_logits, atol=1e-4)
    targets = np.asarray(job.validation.targets)
    assert score(job.task, targets, through_network).metrics["macro_f1"] > 0.5


def test_later_trials_take_it_from_the_cache(loop_job, monkeypatch):
    monkeypatch.setattr(probe_cache, "_KEPT", OrderedDict())
    first, second = loop_job(), loop_job()
    key = ("data", "tiny:2", 24, "fp32")
    kept = initial_head(
        first.network, first.task, (first.train, first.validation), BATCHING, probe_cache=ProbeCache(key)
    )
    again = initial_head(
        second.network, second.task, (second.train, second.validation), BATCHING, probe_cache=ProbeCache(key)
    )
    assert again is kept
    assert np.array_equal(second.network.head.weight.detach().numpy(), kept.weight)
    other = initial_head(
        second.network, second.task, (second.train, second.validation), BATCHING, probe_cache=ProbeCache("other")
    )
    assert other is not kept


def store_in(folder):
    return ActivationStore(folder / "activations", "data and base", 10**9)


def test_another_process_takes_it_from_the_file(loop_job, monkeypatch, tmp_path):
    first, second = loop_job(), loop_job()
    probe_cache = ProbeCache(("data", "tiny:2"), store_in(tmp_path))
    monkeypatch.setattr(probe_cache, "_KEPT", OrderedDict())
    kept = initial_head(first.network, first.task, (first.train, first.validation), BATCHING, probe_cache=probe_cache)
    # As in another process, which has nothing and must make no pass over train.
    monkeypatch.setattr(probe_cache, "_KEPT", OrderedDict())
    monkeypatch.setattr(probe, "extract_features", None)
    again = initial_head(
        second.network, second.task, (second.train, second.validation), BATCHING, probe_cache=probe_cache
    )
    for name in ("weight", "bias", "validation_logits"):
        assert np.array_equal(getattr(again, name), getattr(kept, name))
    assert np.array_equal(second.network.head.weight.detach().numpy(), kept.weight)


def test_a_damaged_or_unwritable_file_costs_only_the_pass(loop_job, monkeypatch, tmp_path):
    job, probe_cache = loop_job(), ProbeCache(("data", "tiny:2"), store_in(tmp_path))
    splits = (job.train, job.validation)
    kept = initial_head(job.network, job.task, splits, BATCHING, probe_cache=probe_cache)
    (path,) = probe_cache.store.folder.glob("probe-*.npz")
    path.write_bytes(path.read_bytes()[:100])
    monkeypatch.setattr(probe_cache, "_KEPT", OrderedDict())
    again = initial_head(job.network, job.task, splits, BATCHING, probe_cache=probe_cache)
    assert np.array_equal(again.weight, kept.weight)
    assert probe_cache._read(path) is not None, "it was made anew"

    def full(self, name, data):
        raise OSError(28, "No space left on device")

    path.unlink()
    monkeypatch.setattr(probe_cache, "_KEPT", OrderedDict())
    monkeypatch.setattr(probe_cache.Storage, "put", full)
    assert np.array_equal(
        initial_head(job.network, job.task, splits, BATCHING, probe_cache=probe_cache).weight, kept.weight
    )
    assert not path.exists()


def test_the_cache_is_bounded(loop_job, monkeypatch):
    monkeypatch.setattr(probe_cache, "_KEPT", OrderedDict())
    monkeypatch.setattr(probe_cache, "ENTRIES", 2)
    job = loop_job()
    for key in range(4):
        initial_head(job.network, job.task, (job.train, job.validation), BATCHING, probe_cache=ProbeCache(key))
    assert list(probe_cache._KEPT) == [2, 3]


def test_only_some_rows_of_a_large_split_are_used(loop_job, monkeypatch):
    monkeypatch.setattr(probe, "PROBE_ROWS", 40)
    job = loop_job()
    fitted = initial_head(job.network, job.task, (job.train, job.validation), BATCHING)
    assert fitted.validation_logits.shape == (len(job.validation), 3)
    assert np.isfinite(fitted.weight).all()
