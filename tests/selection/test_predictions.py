from pathlib import Path

import numpy as np
import pytest

from lft_ray.errors import DamagedFileError
from lft_ray.plugins import resolve
from lft_ray.records import ScoredVariant
from lft_ray.run.checksums import file_sha256
from lft_ray.run.storage import Storage
from lft_ray.selection.evidence import Scorer
from lft_ray.selection.predictions import load_evidence, load_saved, saved_predictions
from lft_ray.tasks import TASKS
from lft_ray.train.artifacts import put_predictions
from tests.selection.builders import trial

LABELS = ["a", "b", "c"]
ONE = Scorer(resolve("classification", TASKS, where="task.kind")(LABELS), "macro_f1")
ROW_IDS = np.array([3, 1, 2], dtype=np.uint32)


def record(trial_id, uri):
    variants = [ScoredVariant(precision="bf16", max_length=64, f1=0.5, predictions_uri=uri)]
    return trial(trial_id, "m:1", 0, 0, variants=variants)


@pytest.fixture
def save(tmp_path):
    def put(name, targets, logits, row_ids=ROW_IDS):
        logits = np.array(logits, dtype=np.float32)
        return put_predictions(Storage(tmp_path), name, row_ids, np.array(targets), logits).uri

    return put


def test_predictions_of_one_label_are_ordered_by_row_id(save):
    first = save("a.parquet", [0, 1, 2], [[9, 0, 0], [0, 0, 9], [0, 0, 9]])
    # The same rows in another order.
    again = save("b.parquet", [1, 2, 0], [[0, 9, 0], [9, 0, 0], [9, 0, 0]], np.array([1, 2, 3], dtype=np.uint32))
    keys = [("t1", "bf16", 64), ("c1", "bf16", 64)]
    found = load_evidence([record("t1", first), record("c1", again)], keys, ONE, seed=3)
    assert found.seed == 3
    assert found.targets.tolist() == [1, 2, 0]
    assert found.answers[keys[0]].tolist() == [2, 2, 0]
    assert found.answers[keys[1]].tolist() == [1, 0, 0]


def test_several_labels_are_those_at_a_logit_of_zero_or_more(save):
    targets = np.array([[1, 0], [0, 0], [1, 1]], dtype=np.float32)
    uri = save("a.parquet", targets, [[0.0, -0.1], [5, -5], [-1, 1]])
    several = Scorer(resolve("multilabel", TASKS, where="task.kind")(LABELS[:2]), "macro_f1")
    found = load_evidence([record("t1", uri)], [("t1", "bf16", 64)], several, seed=0)
    assert found.targets.tolist() == [[0, 0], [1, 1], [1, 0]]
    assert found.answers["t1", "bf16", 64].tolist() == [[True, False], [False, True], [True, False]]


@pytest.mark.parametrize("kind", ["classification", "multilabel", "pairs"])
def test_scores_of_loaded_predictions_equal_those_that_the_task_recorded(save, kind):
    rng = np.random.default_rng(0)
    task = resolve(kind, TASKS, where="task.kind")(LABELS)
    targets = (rng.random((60, 3)) < 0.3).astype(np.float32) if kind == "multilabel" else rng.integers(0, 3, 60)
    logits = rng.normal(size=(60, 3)).astype(np.float32)
    row_ids = rng.permutation(60).astype(np.uint32)
    uri = save("a.parquet", targets, logits, row_ids)
    recorded, keys = task.metrics(targets, logits), [("t1", "bf16", 64)]
    assert set(recorded) == set(task.metric_names)
    for metric, value in recorded.items():
        found = load_evidence([record("t1", uri)], keys, Scorer(task, metric), seed=0)
        assert found.scores(keys) == pytest.approx([value], abs=1e-9)
        assert found.reproduces(keys, [value])
        assert not found.reproduces(keys, [value + 0.001])


def test_what_was_not_saved_or_is_of_other_rows_is_no_evidence(save):
    good = save("a.parquet", [0, 1, 2], [[9, 0, 0]] * 3)
    other = save("b.parquet", [0, 1, 1], [[9, 0, 0]] * 3)
    keys = [("t1", "bf16", 64), ("t2", "bf16", 64)]
    for uri in ("", other):
        assert load_evidence([record("t1", good), record("t2", uri)], keys, ONE, seed=0) is None
    assert load_evidence([record("t1", good)], keys, ONE, seed=0) is None
    assert load_evidence([record("t1", good)], [], ONE, seed=0) is None


@pytest.mark.parametrize("content", [None, b"", b"PAR1 no parquet"])
def test_saved_predictions_that_cannot_be_read_are_named(tmp_path, content):
    """A verdict that silently goes without them would be another verdict."""
    path = tmp_path / "x.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DamagedFileError, match=r"x\.parquet (are missing|cannot be read)"):
        load_evidence([record("t1", str(path))], [("t1", "bf16", 64)], ONE, seed=0)


def test_saved_predictions_that_were_changed_are_named(save, tmp_path):
    good, other = (save(name, [0, 1, 2], [[9, 0, n]] * 3) for name, n in (("a.parquet", 0), ("b.parquet", 1)))
    variant = record("t1", other).variants[0].replace(predictions_sha256=file_sha256(Path(good)))
    with pytest.raises(DamagedFileError, match="was changed after it was written"):
        saved_predictions(variant)
    assert saved_predictions(variant.replace(predictions_uri=good)).num_rows == 3


def test_a_metric_that_the_task_cannot_weigh_is_no_evidence(save):
    """Of a plug-in that has it in ``metrics`` alone: no bound then, and no error after the training was paid."""
    uri = save("a.parquet", [0, 1, 2], [[9, 0, 0]] * 3)
    unknown = Scorer(ONE.task, "rmse")
    assert load_evidence([record("t1", uri)], [("t1", "bf16", 64)], unknown, seed=0) is None
    assert load_saved([record("t1", uri)], unknown) is None
