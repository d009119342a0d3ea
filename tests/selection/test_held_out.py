"""Evaluation of the winner on the test split, with a linear model as the checkpoint."""

import pytest

from lft_ray.candidates import TaskRecord
from lft_ray.config import CostSpec, DataSpec, SelectionSpec, SplitSpec, TaskSpec
from lft_ray.data.prepare import prepare
from lft_ray.data.store import load_split
from lft_ray.models.tfidf import TfidfModel
from lft_ray.records import FrontPoint
from lft_ray.run.folder import RunFolder
from lft_ray.run.ledger import Ledger
from lft_ray.run.storage import Storage
from lft_ray.selection import held_out
from lft_ray.selection.decide import decide
from lft_ray.selection.held_out import evaluate_held_out, predict_logits
from tests.selection.builders import trial

WORDS = {"book": "novel", "money": "stocks", "sport": "match"}
POINT = FrontPoint(
    trial_id="t1", model_size="tfidf", precision="fp32", max_length=128, f1=0.9, usd_per_million_predictions=0.1
)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    path = tmp_path_factory.mktemp("held_out") / "rows.csv"
    lines = [f"the {word} number {n},{label}" for n in range(30) for label, word in WORDS.items()]
    # Labels that no model can predict: the score is below 1.
    lines += [f"the novel match number {n},{('book', 'sport')[n * n % 7 % 2]}" for n in range(30)]
    path.write_text("text,label\n" + "\n".join(lines) + "\n")
    return path


def prepared(rows, folder, **split):
    return prepare(TaskSpec(), DataSpec(train=str(rows), split=SplitSpec(**split)), Storage(folder))


def save_checkpoint(dataset, task, folder):
    train = load_split(dataset, "train")
    model = TfidfModel.fit(train.texts, train.targets, task.make(), 0, max_length=128)
    model.save(folder)


def rows_of(found):
    return sum(sum(row[1:]) for row in found.panels[1].rows)


def test_evaluate_held_out_scores_the_test_split(rows, tmp_path):
    dataset = prepared(rows, tmp_path / "run", validation=0.2, test=0.3)
    task = TaskRecord.of("classification", "accuracy", dataset.facts)
    save_checkpoint(dataset, task, tmp_path / "checkpoint")
    record = trial("t1", "tfidf", 0.9, 0.1).replace(checkpoint_uri=str(tmp_path / "checkpoint"))
    found = evaluate_held_out(record, POINT, dataset, task)
    split = load_split(dataset, "test")
    predicted = predict_logits(record, POINT, split.texts).argmax(axis=1)
    assert found.test_f1 == found.test_metrics["accuracy"] == pytest.approx(float((predicted == split.targets).mean()))
    assert 0.5 < found.test_f1 < 1.0
    low, high = found.test_f1_interval
    assert low < found.test_f1 < high
    assert found.test_rows == len(split) == rows_of(found)
    assert [row[0] for row in found.panels[0].rows] == dataset.labels


def test_evaluate_held_out_without_a_test_split_has_tables_of_validation_and_no_score(rows, tmp_path):
    dataset = prepared(rows, tmp_path / "run", validation=0.3, test=0.0)
    task = TaskRecord.of("classification", "macro_f1", dataset.facts)
    save_checkpoint(dataset, task, tmp_path / "checkpoint")
    record = trial("t1", "tfidf", 0.9, 0.1).replace(checkpoint_uri=str(tmp_path / "checkpoint"))
    found = evaluate_held_out(record, POINT, dataset, task)
    assert (found.test_f1, found.test_metrics, found.test_rows) == (None, {}, 0)
    assert rows_of(found) == dataset.splits["validation"].rows


def test_selecting_again_does_not_look_at_the_test_split_again(rows, tmp_path, monkeypatch):
    dataset = prepared(rows, tmp_path / "run", validation=0.2, test=0.3)
    task = TaskRecord.of("classification", "accuracy", dataset.facts)
    folder = tmp_path / "run" / "trials" / "t1" / "checkpoint-1"
    save_checkpoint(dataset, task, folder)
    record = trial("t1", "tfidf", 0.9, 0.1).replace(checkpoint_uri=str(folder))
    run, chosen = RunFolder(str(tmp_path / "run")), decide([record], SelectionSpec(), CostSpec())
    run.storage.put("trials/t1/record.json", record.model_dump_json())

    def again(selection):
        return held_out.tested(run, selection, Ledger(run.storage), dataset, task, seed=0)

    chosen = chosen.replace(checkpoint_f1=0.9, checkpoint_f1_interval=(0.85, 0.95))
    first = again(chosen)
    assert first.remarks[0].startswith("Test accuracy of checkpoint t1 0.")
    run.put("selection.json", first)
    monkeypatch.setattr(held_out, "predict_logits", lambda *_: pytest.fail("the test split was read again"))
    assert again(chosen) == first
    # A task may have no tables.
    run.put("selection.json", first.replace(panels=[]))
    assert again(chosen) == first.replace(panels=[])
    run.put("selection.json", first)
    with pytest.raises(pytest.fail.Exception, match="read again"):
        again(chosen.replace(checkpoint_f1=0.91))
    run.storage.put("selection.json", "{")
    with pytest.raises(pytest.fail.Exception, match="read again"):
        again(chosen)
