"""JSON lines and arrays: no type is guessed, every bad row is told with its line."""

import json
from pathlib import Path
from typing import Any

import pytest

from lft_ray.data.readers.read import read_table
from lft_ray.tasks.classification import Classification
from lft_ray.tasks.multilabel import Multilabel
from lft_ray.tasks.rows import RawTable


def read(path: Path, content: str, task: type = Classification, **options: Any) -> RawTable:
    path.write_text(content, encoding="utf-8")
    return read_table(str(path), task=task, **options)


def lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_lines(tmp_path):
    table = read(tmp_path / "a.jsonl", lines({"id": 1, "text": "a", "label": "x"}, {"text": "b", "label": "01"}) + "\n")
    assert (table.values["text"], table.values["label"], table.problems) == (["a", "b"], [["x"], ["01"]], [])


@pytest.mark.parametrize(("name", "warned"), [("a.json", False), ("a.jsonl", True)])
def test_array(tmp_path, name, warned):
    table = read(tmp_path / name, json.dumps([{"text": "a", "label": "x"}, {"text": "b", "label": "y"}], indent=1))
    assert table.values["text"] == ["a", "b"]
    assert [table.origin(i)[1] for i in range(2)] == [1, 2]
    assert [problem.code for problem in table.problems] == (["wrong_extension"] if warned else [])


def test_lines_in_json_file(tmp_path):
    assert read(tmp_path / "a.json", lines({"text": "a", "label": "x"})).values["text"] == ["a"]


def test_numbers_and_truth_values_become_labels_as_written(tmp_path):
    assert read(tmp_path / "a.jsonl", lines({"text": "a", "label": 1}, {"text": "b", "label": 0})).values["label"] == [
        ["1"],
        ["0"],
    ]
    assert read(tmp_path / "b.jsonl", lines({"text": "a", "label": True})).values["label"] == [["true"]]
    assert read(tmp_path / "c.jsonl", lines({"text": "a", "label": None})).values["label"] == [[]]


def test_numeric_texts_are_read_with_a_warning(tmp_path):
    table = read(tmp_path / "a.jsonl", lines({"text": 12, "label": "a"}))
    assert table.values["text"] == ["12"]
    assert [(p.severity, p.code) for p in table.problems] == [("warning", "numeric_text")]


def test_half_a_surrogate_pair_in_a_label_is_an_error(tmp_path):
    table = read(tmp_path / "a.jsonl", '{"text": "a", "label": "x\\ud800"}\n')
    assert [(problem.code, problem.row) for problem in table.problems if "surrogate" in problem.message] == [
        ("label_type", 1)
    ]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ('{"text": "a", "label": "x"', "broken_json"),
        ("plain words", "broken_json"),
        ('["a", "x"]', "not_an_object"),
        ('{"text": "a", "label": NaN}', "nan_value"),
        ('{"text": "a", "text": "b", "label": "x"}', "duplicate_key"),
        ('{"text": "a"}', "missing_key"),
        ('{"text": ["a"], "label": "x"}', "text_type"),
        ('{"text": {"en": "a"}, "label": "x"}', "text_type"),
        ('{"text": "a", "label": {"x": 1}}', "label_type"),
        ('{"text": "a", "label": [["x"]]}', "label_type"),
        ('{"text": "a", "label": ["x", null]}', "label_type"),
        ('{"text": "a", "label": 3}', "mixed_types"),
        ("[" * 100_000, "broken_json"),
        ('{"text": "a", "label": ' + "9" * 6000 + "}", "broken_json"),
    ],
)
def test_a_bad_line_is_an_error_at_its_line(tmp_path, line, code):
    good = lines({"text": "a", "label": "x"})
    table = read(tmp_path / "a.jsonl", good + good + line + "\n" + good)
    assert [(p.severity, p.code, p.row) for p in table.problems] == [("error", code, 3)]


def test_nan_in_another_column_is_no_problem(tmp_path):
    assert read(tmp_path / "a.jsonl", '{"text": "a", "label": "x", "score": NaN}\n').problems == []


def test_broken_array_names_the_line(tmp_path):
    table = read(tmp_path / "a.json", '[{"text": "a", "label": "x"},\n{"text": }]')
    assert [(p.code, p.row) for p in table.problems] == [("broken_json", 2)]


def test_several_kinds_of_error_at_once(tmp_path):
    table = read(tmp_path / "a.jsonl", '{"text": "a", "label": "x"}\n' + "{\n" * 5 + '{"text": "b"}\n')
    assert [(p.code, p.row, p.count) for p in table.problems] == [
        ("broken_json", 2, 1), ("broken_json", 3, 1), ("broken_json", 4, 1), ("broken_json", None, 2),
        ("missing_key", 7, 1),
    ]  # fmt: skip


def test_lists_of_labels(tmp_path):
    rows = lines({"text": "a", "labels": ["x", "y"]}, {"text": "b", "labels": []}, {"text": "c", "labels": None})
    assert read(tmp_path / "a.jsonl", rows, Multilabel).values["label"] == [["x", "y"], [], []]
    table = read(tmp_path / "b.jsonl", rows, names={"label": "labels"})
    assert [(p.severity, p.code) for p in table.problems] == [("error", "label_type")]
    assert "multilabel" in table.problems[0].fix


def test_joined_labels(tmp_path):
    rows = lines({"text": "a", "labels": "x, y,,x"}, {"text": "b", "labels": ""})
    assert read(tmp_path / "a.jsonl", rows, Multilabel).values["label"] == [["x", "y"], []]


def test_empty_rows(tmp_path):
    assert [p.code for p in read(tmp_path / "a.json", "[]").problems] == ["no_rows"]
