"""Cleaning: rows dropped below a share, errors above it, damaged texts repaired."""

import pytest

from lft_ray.data.clean import MAX_TEXT_CHARACTERS, clean
from lft_ray.tasks.classification import Classification
from lft_ray.tasks.findings import Findings
from lft_ray.tasks.multilabel import Multilabel
from tests.tasks.tables import raw_table


def cleaned(rows, task=Classification):
    findings = Findings()
    return clean(raw_table(rows), "train", task=task, findings=findings), findings.problems


@pytest.mark.parametrize(("blank", "severity"), [(2, "warning"), (3, "error")])
def test_clean_drops_at_most_a_fifth_of_empty_texts(blank, severity):
    rows = [(" " if i < blank else f"text {i}", ["x"]) for i in range(10)]
    found, problems = cleaned(rows)
    first = problems[0]
    assert (first.code, first.severity, first.row) == ("empty_text", severity, 2)
    assert found.row_ids.tolist() == list(range(blank, 10))


@pytest.mark.parametrize(("count", "severity"), [(101, "warning"), (100, "error")])
def test_clean_drops_less_than_a_hundredth_of_empty_labels(count, severity):
    rows = [(f"text {i}", ["x"] if i else []) for i in range(count)]
    found, problems = cleaned(rows)
    assert [(problem.code, problem.severity) for problem in problems] == [("empty_label", severity)]
    assert len(found.values["text"]) == count - 1


def test_clean_keeps_rows_without_a_label_where_the_task_allows_them():
    found, problems = cleaned([("a", []), ("b", ["x"])], Multilabel)
    assert (found.values["text"], found.values["label"], problems) == (["a", "b"], [[], ["x"]], [])


def test_clean_repairs_nul_characters_and_lone_surrogates():
    found, problems = cleaned([("a\0b", ["x"]), ("c\ud83d", ["x"]), ("d", ["x"])])
    assert found.values["text"] == ["ab", "c\ufffd", "d"]
    assert [(problem.code, problem.row) for problem in problems] == [("nul", 2), ("surrogate", 3)]


def test_clean_reports_texts_above_the_limit():
    _, problems = cleaned([("x" * (MAX_TEXT_CHARACTERS + 1), ["x"]), ("x" * MAX_TEXT_CHARACTERS, ["x"])])
    assert [(problem.code, problem.row) for problem in problems] == [("long_text", 2)]
