"""What `lft init` chooses."""

import gzip
import json
import random

import pytest

from lft_ray.cluster.connect import ClusterHandle, Node
from lft_ray.config import Experiment
from lft_ray.config.loader import load_yaml
from lft_ray.errors import InputError
from lft_ray.plan.suggest import Asked, minutes_of, suggest
from tests.tasks.questions import corpus


def rows(count, *, share=0.5, start=0):
    draw = random.Random(start)
    return [(f"please help me with problem {i}", "ab"[draw.random() < share]) for i in range(start, start + count)]


def write(path, table, encoding="utf-8"):
    text = "body,topic\n" + "".join(f"{text},{label}\n" for text, label in table)
    data = text.encode(encoding)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return str(path)


def suggested(given, **asked):
    found = suggest([given] if isinstance(given, str) else given, Asked(**asked), speed=lambda: 5e10)
    return found, Experiment.parse(load_yaml(found.content))


def machine(cores=2.0, gpus=0.0):
    return ClusterHandle("", (Node("here", cores, gpus),), owned=False, connected_here=False)


def test_splits_beside_each_other_are_named(tmp_path):
    folder = tmp_path / "mail"
    folder.mkdir()
    train = write(folder / "train.csv.gz", rows(200))
    held = {name: write(folder / f"{name}.csv.gz", rows(40, start=1000 + i)) for i, name in enumerate(("val", "test"))}
    found, experiment = suggested(train)
    assert found.name == experiment.name == "mail"
    assert (experiment.data.train, experiment.data.validation, experiment.data.test) == (
        train,
        held["val"],
        held["test"],
    )
    assert (experiment.task.text, experiment.task.label) == ("body", "topic")
    assert experiment.training.method == ["full", "linear_probe"]


def test_a_test_file_without_labels_is_left_out_unless_it_was_named(tmp_path):
    train = write(tmp_path / "train.csv", rows(200))
    test = tmp_path / "test.csv"
    test.write_text("body\nplease help\n")
    found, experiment = suggested(train)
    assert experiment.data.test is None
    assert any("left out" in line for line in found.told)
    with pytest.raises(InputError, match="has no column 'topic'"):
        suggested([train, str(test)])


def test_the_encoding_is_written_down(tmp_path):
    table = [(f"ich hätte gern größere Schuhe {i}", "ab"[i % 2]) for i in range(100)]
    found, experiment = suggested(write(tmp_path / "x.csv", table, "cp1252"))
    assert experiment.data.encoding == "cp1252"
    assert any(line.startswith("encoding: cp1252") for line in found.told)


def test_files_in_two_encodings_are_refused(tmp_path):
    table = [(f"ich hätte gern größere Schuhe {i}", "ab"[i % 2]) for i in range(100)]
    train = write(tmp_path / "train.csv", table, "cp1252")
    write(tmp_path / "test.csv", table[:20])
    with pytest.raises(InputError, match="one encoding"):
        suggested(train)


@pytest.mark.parametrize(("share", "weights"), [(0.5, "none"), (0.1, ["none", "balanced"])])
def test_imbalance_is_searched(tmp_path, share, weights):
    found, experiment = suggested(write(tmp_path / "x.csv", rows(400, share=share)))
    assert experiment.training.class_weights == weights
    assert any("class_weights" in line for line in found.told) == (weights != "none")


def test_what_was_said_wins(tmp_path):
    path = write(tmp_path / "x.csv", rows(100))
    _, experiment = suggested(path, name="Mine!", text="body", label="topic", kind="multilabel")
    assert (experiment.name, experiment.task.kind) == ("mine", "multilabel")


def test_a_hub_data_set_has_its_columns_by_their_names(monkeypatch):
    import datasets

    table = datasets.Dataset.from_dict({"text": [text for text, _ in rows(100)], "label": ["a", "b"] * 50})
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: table)
    found, experiment = suggested("hub:someone/mails@main")
    assert (found.name, experiment.data.train) == ("mails", "hub:someone/mails@main")
    assert (experiment.task.text, experiment.task.label) == ("text", "label")


def test_margin_follows_the_rows(tmp_path):
    _, few = suggested(write(tmp_path / "few.csv", rows(200)))
    assert few.selection.margin == 0.02


def test_minutes_grow_with_rows_tokens_and_a_slow_machine():
    def minutes(rows=2000, tokens=20.0, speed=5e10, cores=2.0):
        return minutes_of(rows, tokens, machine(cores), lambda: speed)

    usual = minutes()
    assert usual.trials == 24
    assert minutes(rows=8000).minutes > usual.minutes
    assert minutes(tokens=80.0).minutes > usual.minutes
    assert minutes(speed=2e10).minutes > usual.minutes
    assert minutes(cores=8.0).minutes < usual.minutes
    huge = minutes(rows=1_000_000, tokens=100.0)
    assert huge.trials == 12
    assert huge.layers == (1,)
    assert "left out" in huge.told
    assert "max_rows" in huge.told


def test_long_chinese_is_not_short(tmp_path):
    draw = random.Random(0)
    table = [("".join(chr(0x4E00 + draw.randrange(400)) for _ in range(300)), "ab"[i % 2]) for i in range(100)]
    found, experiment = suggested(write(tmp_path / "zh.csv", table))
    assert experiment.training.max_length >= 256
    assert any("does not know" in warning for warning in found.warnings)
    assert "# - {base: multilingual-e5-small" in found.content
    assert [spec.base for spec in experiment.models] == ["tfidf", "minilm"]


def test_a_file_of_pairs_becomes_a_task_on_pairs(tmp_path):
    for name, count in (("train", 200), ("dev", 60)):
        lines = [f"please help me with problem {i},it is about item {i % 50},{'yn'[i % 2]}" for i in range(count)]
        (tmp_path / f"{name}.csv").write_text("premise,hypothesis,gold\n" + "\n".join(lines))
    found, experiment = suggested(str(tmp_path / "train.csv"))
    assert (experiment.task.kind, experiment.task.text, experiment.task.label) == ("pairs", None, "gold")
    assert experiment.task.columns == {"text_a": "premise", "text_b": "hypothesis"}
    assert experiment.data.validation == str(tmp_path / "dev.csv")
    assert found.told[0].startswith("kind: pairs; text_a: column 'premise', text_b: column 'hypothesis'")
    assert (
        suggested(str(tmp_path / "train.csv"), pair=("hypothesis", "premise"))[1].task.columns["text_a"] == "hypothesis"
    )
    single = suggested(str(tmp_path / "train.csv"), text="premise")[1].task
    assert (single.kind, single.text, single.columns) == ("classification", "premise", {})


def test_a_file_of_questions_becomes_a_task_on_questions(tmp_path):
    path = tmp_path / "faq.jsonl"
    path.write_text("\n".join(map(json.dumps, corpus.rows(120))))
    found, experiment = suggested(str(path))
    assert (experiment.task.kind, experiment.task.label, experiment.task.metric) == ("question_answering", None, "f1")
    assert experiment.task.columns == {"question": "question", "context": "context", "answers": "answers"}
    assert [spec.base for spec in experiment.models] == ["overlap", "minilm"]
    assert experiment.training.method == ["full"]
    assert not any("class_weights" in line for line in found.told)
