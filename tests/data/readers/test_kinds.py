"""Kinds of columns: one table, and whatever a file holds reaches a kind that is added to it."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lft_ray.data.readers import kinds
from lft_ray.data.readers.read import read_table
from lft_ray.tasks.classification import Classification
from lft_ray.tasks.columns import LABEL, TEXT, Column

TURNS = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
MESSAGES = Column("messages", ("messages",), "turns", "input")  # type: ignore[arg-type]


class Chat(Classification):
    columns = (MESSAGES, Classification.columns[1])


class Turns:
    """Keeps lists of objects as they are."""

    def from_strings(self, cells):
        return [json.loads(cell) for cell in cells]

    def from_arrow(self, wanted, cells, class_names, findings, option):
        return cells

    def json_cells(self, wanted):
        return Collected()

    def rows(self, wanted, part, task, findings):
        cells = part.values[wanted.role]
        return cells if isinstance(cells, list) else cells.to_pylist(), ""


class Collected(list):
    def check(self, number, value):
        return None

    def add(self, value):
        self.append(value)

    def cells(self, findings):
        return list(self)


def test_an_unknown_kind_is_an_error_of_the_task():
    with pytest.raises(ValueError, match="column 'messages' has kind 'turns', expected one of text, names"):
        kinds.kind_of(MESSAGES)


@pytest.mark.parametrize("file", ["a.jsonl", "a.json", "a.parquet"])
def test_lists_and_objects_reach_a_kind_as_they_are(tmp_path, monkeypatch, file):
    monkeypatch.setattr(kinds, "KINDS", {**kinds.KINDS, "turns": Turns()})
    path, rows = tmp_path / file, [{"messages": TURNS, "label": "good"}, {"messages": TURNS[:1], "label": "bad"}]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text(json.dumps(rows) if path.suffix == ".json" else "\n".join(map(json.dumps, rows)))
    table = read_table(str(path), task=Chat)
    assert not table.problems
    assert table.values == {"messages": [TURNS, TURNS[:1]], "label": [["good"], ["bad"]]}


@pytest.mark.parametrize("column", [TEXT, Classification.columns[1]])
def test_a_missing_value_is_blank_and_can_be_stored(column):
    kind = kinds.kind_of(column)
    assert kind.is_blank(kind.missing())
    assert not kind.is_blank({"text": "a", LABEL: ["a"]}[column.role])
    assert kind.stored([kind.missing()]).to_pylist() == [kind.missing()]
