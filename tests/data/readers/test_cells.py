"""Label cells: lists written as text, vectors, dictionaries, line breaks, and names that only look like these."""

import numpy as np
import pyarrow as pa
import pytest

from lft_ray.data.readers.cells import is_vector, parse_list, read_cells
from lft_ray.tasks.findings import Findings

NAN = float("nan")


def read(cells, *, several=True, kind=None):
    column = pa.array(cells, kind)
    findings = Findings()
    found = read_cells(column, np.arange(2, len(cells) + 2), several=several, findings=findings.of("a.csv"))
    return found, [(problem.severity, problem.code, problem.row) for problem in findings.problems]


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("['sun', 'rain']", ["sun", "rain"]),
        ('["sun", "rain"]', ["sun", "rain"]),
        ("['sun' 'rain']", ["sun", "rain"]),
        ("array(['sun', 'rain'], dtype=object)", ["sun", "rain"]),
        ("{'sun'}", ["sun"]),
        ("('sun',)", ["sun"]),
        ("[sun, rain]", ["sun", "rain"]),
        ("[u'sun', u'rain']", ["sun", "rain"]),
        ("['it\\'s', \"a, b\"]", ["it's", "a, b"]),
        ("[]", []),
        ("set()", []),
        ("[1, 2]", ["1", "2"]),
        ("[0. 1.]", ["0.", "1."]),
    ],
)
def test_lists_written_as_text(cell, names):
    assert parse_list(cell) == names


@pytest.mark.parametrize("cell", ["sun", "(sun)", "[sun", "a, b", "", "sun (rare)"])
def test_names_are_no_lists(cell):
    assert parse_list(cell) is None


@pytest.mark.parametrize("cell", ["{'sun': 1}", '{"sun": 1}', "{sun: 1, rain: 0}", "{}"])
def test_dictionaries(cell):
    assert isinstance(parse_list(cell), dict)


@pytest.mark.parametrize("cell", ["['sun', nan]", "[None]", "[null]", "[['sun'], ['rain']]", '[["sun"]]'])
def test_lists_with_holes_or_lists_are_refused(cell):
    with pytest.raises(ValueError, match="a list"):
        parse_list(cell)


@pytest.mark.parametrize(
    "rows",
    [
        [["0", "1", "0"], ["1", "0", "0"]],
        [["0.0", "1.0"], ["1.0", "0.0"]],
        [["true", "false"], ["false", "true"]],
        [["0", "1"], None, ["1", "0"]],
        [["0.2", "0.8"], ["0.5", "0.5"]],
        [["2", "0", "0"], ["0", "1", "1"]],
        [["0.0"], ["1.0"]],
        [["0", "0"], ["1"]],
    ],
)
def test_vectors(rows):
    assert is_vector(rows)


@pytest.mark.parametrize("rows", [[["1", "2"], ["3"]], [["0"], ["1"]], [["1"], ["0", "1"]], [["a", "b"]], [[]], []])
def test_lists_of_names_are_no_vectors(rows):
    assert not is_vector(rows)


@pytest.mark.parametrize("several", [True, False])
@pytest.mark.parametrize(
    "cells",
    [["0 1 0", "1 0 0"], ["0,1", "1,0"], ["True False", "False True"], ["[0, 1]", "[1, 0]"], ["0.0;1.0", "1.0;0.0"]],
)
def test_vectors_in_cells_are_an_error(cells, several):
    found, problems = read(cells * 3, several=several)
    assert not found.is_usable
    assert [(severity, code) for severity, code, _ in problems] == [("error", "label_vector")]


def test_vectors_in_arrow_lists_are_an_error():
    found, problems = read([[0, 1, 0], [1, 0, 0]] * 3, kind=pa.list_(pa.int64(), 3))
    assert not found.is_usable
    assert problems[0][1] == "label_vector"


def test_strings_of_bits_are_told():
    found, problems = read(["010", "100"] * 3)
    assert found.is_usable
    assert problems == [("warning", "label_vector", None)]


def test_lists_become_names_and_the_card_says_so():
    found, problems = read(["['sun', 'rain']", None, "[]", "['sun']"])
    assert found.column.to_pylist() == [["sun", "rain"], None, [], ["sun"]]
    assert "lists written as text" in found.read_as
    assert not problems


def test_lists_are_refused_where_one_label_is_expected():
    found, problems = read(["['sun']", "['rain']", "other"], several=False)
    assert not found.is_usable
    assert problems == [("error", "label_list", 2)]


def test_a_few_lists_among_names_are_told():
    assert read(["['sun']", "rain", "wind"], several=False)[1] == [("warning", "label_list", 2)]
    assert read(["['sun', 'x']", "rain", "wind"])[1] == [("error", "label_list", 2)]
    assert read(["['sun', 'x']", "['rain']", "wind"])[1] == [("error", "label_list", 4)]


def test_dictionaries_are_an_error():
    assert read(["{'sun': 1}", "{'rain': 1}"])[1] == [("error", "label_dictionary", 2)]


@pytest.mark.parametrize("several", [True, False])
def test_brackets_may_belong_to_a_name(several):
    found, problems = read(["[v2]", "[v3]", "(old)", "plain"], several=several)
    assert found.column.to_pylist() == ["[v2]", "[v3]", "(old)", "plain"]
    assert not problems


def test_line_breaks_separate_several_labels():
    found, problems = read(["sun\rrain", "sun\r\nwind", "wind\n", None])
    assert found.column.to_pylist() == ["sun,rain", "sun,wind", "wind,", None]
    assert problems == [("warning", "label_line_break", 2)]


def test_nulls_in_lists_are_told():
    assert read([["a", None], ["b"]])[1] == [("warning", "null_label", 2)]
