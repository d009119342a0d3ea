"""JSON in another shape than one object per row is named, with the command that makes rows of it."""

import json

import pytest

from lft_ray.data.readers.json_shapes import shape_of
from lft_ray.data.readers.preview import preview
from lft_ray.data.readers.read import read_table, read_texts
from lft_ray.errors import DataError
from lft_ray.tasks.classification import Classification

ROWS = [{"text": f"text {i}", "label": "xy"[i % 2]} for i in range(4)]
COLUMNS = {name: [row[name] for row in ROWS] for name in ("text", "label")}
SHAPES = [
    (json.dumps(COLUMNS), "2 columns of 4 values", "orient='records'"),
    (json.dumps(COLUMNS, indent=1), "2 columns of 4 values", "orient='records'"),
    (json.dumps({k: dict(enumerate(v)) for k, v in COLUMNS.items()}), "2 columns of 4 values", "orient='records'"),
    (json.dumps({"columns": ["text"], "data": [["a"]]}), "orient='split'", "orient='records'"),
    (json.dumps({"version": 1, "my data": ROWS}, indent=1), "in the list at key 'my data'", '.["my data"][]'),
    ("\n\n" + "\n".join(json.dumps(row, indent=1) for row in ROWS), "each object spans several lines", "jq -c ."),
]


@pytest.mark.parametrize(("content", "told", "fix"), SHAPES)
def test_the_shape_is_the_only_problem(tmp_path, content, told, fix):
    path = tmp_path / "a.json"
    path.write_text(content)
    (problem,) = read_table(str(path), task=Classification).problems
    assert (problem.code, problem.severity) == ("json_shape", "error")
    assert told in problem.message
    assert fix in problem.fix
    for read in (lambda: preview(path), lambda: read_texts(str(path))):
        with pytest.raises(DataError) as refused:
            read()
        assert told in refused.value.message


@pytest.mark.parametrize(
    "content", ['{"text": "a", "label": "x"}', '{"text": "a",\n', "{broken\n{also\n", '{"a": [1]}\n{}']
)
def test_rows_and_broken_lines_are_left_to_the_reader(tmp_path, content):
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    assert "json_shape" not in {problem.code for problem in read_table(str(path), task=Classification).problems}


def test_a_row_with_a_list_of_labels_is_a_row():
    assert shape_of({"text": "a", "labels": ["x", "y"]}) is None
    assert shape_of({}) is None
