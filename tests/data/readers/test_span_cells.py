"""Answers in the shapes in which they are passed on, in every format."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lft_ray.data.readers.read import read_table
from lft_ray.data.readers.span_cells import SpansKind, read_answers
from lft_ray.tasks.questions.task import Questions

ROW = {"question": "Who?", "context": "Ada and Bo."}
SHAPES = [
    ("Ada", [("Ada", None)]),
    (["Ada", "Bo"], [("Ada", None), ("Bo", None)]),
    ([{"text": "Ada", "answer_start": 0}], [("Ada", 0)]),
    ([{"text": "Bo", "start": 8}, {"text": "Ada", "start": 0}], [("Bo", 8), ("Ada", 0)]),
    ({"text": ["Ada"], "answer_start": [0]}, [("Ada", 0)]),
    ({"text": "Ada", "answer_start": 0}, [("Ada", 0)]),
    ({"text": ["Ada", "Bo"]}, [("Ada", None), ("Bo", None)]),
    ({"text": [], "answer_start": []}, []),
    ([], []),
    (None, []),
    ("", []),
    (" ", []),
]


@pytest.mark.parametrize(("value", "expected"), SHAPES)
def test_shapes(value, expected):
    assert read_answers(value) == expected


@pytest.mark.parametrize(("value", "expected"), SHAPES)
@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "parquet"])
def test_every_format_reads_them_alike(tmp_path, value, expected, suffix):
    path = tmp_path / f"rows.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.table({"question": ["Who?"], "context": ["Ada and Bo."], "answers": pa.array([value])}), path)
    elif suffix == "csv":
        cell = value if isinstance(value, str) else "" if value is None else json.dumps(value)
        quoted = cell.replace('"', '""')
        path.write_text(f'question,context,answers\nWho?,Ada and Bo.,"{quoted}"\n')
    else:
        row = json.dumps(ROW | {"answers": value})
        path.write_text(f"[{row}]" if suffix == "json" else row + "\n")
    table = read_table(str(path), task=Questions)
    assert not [problem for problem in table.problems if problem.severity == "error"]
    assert table.values["answers"] == [expected]


def test_text_that_only_looks_like_json_is_text(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('question,context,answers\nWho?,"[sic] it said","[sic]"\n')
    assert read_table(str(path), task=Questions).values["answers"] == [[("[sic]", None)]]


def test_another_type_of_column_is_named(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"question": ["Who?"], "context": ["Ada"], "answers": [3]}), path)
    [problem] = read_table(str(path), task=Questions).problems
    assert problem.code == "answer_type"
    assert "int64" in problem.message


def test_answers_as_a_column_of_a_split():
    kind = SpansKind()
    assert kind.stored([[("Ada", 0)], []]).to_pylist() == [[{"text": "Ada", "start": 0}], []]
    assert (kind.missing(), kind.is_blank([])) == ([], False)


def squad(**changes):
    answered = {"id": "1", "question": "Who?", "answers": [{"text": "Ada", "answer_start": 0}]}
    impossible = {
        "id": "2",
        "question": "When?",
        "answers": [],
        "is_impossible": True,
        "plausible_answers": [{"text": "Bo", "answer_start": 8}],
    }
    paragraph = {"context": "Ada and Bo.", "qas": [answered, impossible]}
    return {"version": "v2.0", "data": [{"title": "Names", "paragraphs": [paragraph]}], **changes}


@pytest.mark.parametrize("indent", [None, 2])
def test_the_json_of_squad(tmp_path, indent):
    path = tmp_path / "train-v2.0.json"
    path.write_text(json.dumps(squad(), indent=indent))
    table = read_table(str(path), task=Questions)
    assert not table.problems
    assert table.values == {
        "question": ["Who?", "When?"],
        "context": ["Ada and Bo."] * 2,
        "answers": [[("Ada", 0)], []],
    }
    assert "SQuAD" in table.read_as[str(path)]
    assert table.row_numbers.tolist() == [1, 2]


def test_an_object_that_is_not_squads_is_told_as_before(tmp_path):
    path = tmp_path / "train.json"
    path.write_text(json.dumps({"data": [{"question": "Who?"}], "note": "paragraphs"}))
    [problem] = read_table(str(path), task=Questions).problems
    assert problem.code == "json_shape"
