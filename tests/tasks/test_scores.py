"""Our scores are scikit-learn's to 1e-12."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from lft_ray.tasks.classification import Classification
from lft_ray.tasks.multilabel import Multilabel

AVERAGES = ("macro", "micro", "weighted")


def theirs(truth: np.ndarray, answer: np.ndarray) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # A label in neither truth nor answer says nothing: scikit-learn skips it only where each row has one label.
        seen = np.flatnonzero((truth + answer).any(axis=0)) if truth.ndim > 1 else None
        if seen is not None and not len(seen):
            return {**{f"{name}_f1": 0.0 for name in AVERAGES}, "accuracy": 1.0}
        scores = {
            f"{name}_f1": metrics.f1_score(truth, answer, average=name, labels=seen, zero_division=0)
            for name in AVERAGES
        }
        return {**scores, "accuracy": metrics.accuracy_score(truth, answer)}


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 6), st.integers(1, 40), st.integers(0, 1000))
def test_one_label_a_row(labels, count, seed):
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, labels, count)
    logits = generator.normal(size=(count, labels)).astype(np.float32)
    ours = Classification([f"l{i}" for i in range(labels)]).metrics(truth, logits)
    assert ours == pytest.approx(theirs(truth, logits.argmax(axis=1)), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 6), st.integers(1, 40), st.integers(0, 1000))
def test_several_labels_a_row(labels, count, seed):
    generator = np.random.default_rng(seed)
    truth = (generator.random((count, labels)) < 0.3).astype(np.float32)
    logits = generator.normal(size=(count, labels)).astype(np.float32)
    ours = Multilabel([f"l{i}" for i in range(labels)]).metrics(truth, logits)
    assert ours == pytest.approx(theirs(truth.astype(int), (logits >= 0).astype(int)), abs=1e-12)


def test_tables():
    generator = np.random.default_rng(3)
    truth, logits = generator.integers(0, 4, 200), generator.normal(size=(200, 4)).astype(np.float32)
    task = Classification(list("abcd"))
    answer = logits.argmax(axis=1)
    scores, matrix = task.panels(truth, answer)
    assert [row[1:] for row in matrix.rows] == metrics.confusion_matrix(truth, answer).tolist()
    precision, recall, f1, support = metrics.precision_recall_fscore_support(truth, answer)
    for i, row in enumerate(scores.rows):
        assert row[0] == "abcd"[i]
        assert row[1:] == pytest.approx([precision[i], recall[i], f1[i], support[i]], abs=1e-12)


def test_real_labels(shared_dir):
    import pyarrow.parquet as pq

    column = pq.read_table(shared_dir / "data" / "goemotions" / "dev.parquet", columns=["labels"]).column(0)
    rows = Multilabel.read_targets(column.combine_chunks())
    task = Multilabel(sorted({name for names in rows for name in names}))
    truth = task.encode({"label": rows})
    logits = (truth - 0.5 + np.random.default_rng(0).normal(size=truth.shape)).astype(np.float32)
    assert task.metrics(truth, logits) == pytest.approx(theirs(truth.astype(int), (logits >= 0).astype(int)), abs=1e-12)
