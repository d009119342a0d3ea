"""Rows without a label, and equal texts with different labels."""

import numpy as np
import pytest

from lft_ray.tasks.findings import Findings
from lft_ray.tasks.labels.repeats import check_conflicts, report_unlabelled
from lft_ray.tasks.rows import Repeats
from tests.tasks.tables import clean_rows, raw_table


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        (0, []),
        (1, [("warning", 2, 1)]),
        (4, [("error", 2, 1), ("error", 3, 1), ("error", 4, 1), ("error", None, 1)]),
    ],
)
def test_less_than_a_hundredth_may_be_unlabelled(missing, expected):
    findings = Findings()
    table = raw_table([(f"text {i}", ["x"]) for i in range(200)])
    report_unlabelled(table, "train", [i < missing for i in range(200)], findings)
    assert [(problem.severity, problem.row, problem.count) for problem in findings.problems] == expected


def test_each_text_with_several_labels_counts_once():
    rows = clean_rows([("a", ["x"]), ("b", ["x"]), ("a", ["y"]), ("a", ["z"]), ("b", ["x"]), ("a", ["x"])])
    findings = Findings()
    first = np.array([0, 1, 0, 0, 1, 0])
    assert check_conflicts(rows, Repeats(np.array([2, 3, 4, 5]), first), findings) == 1
    (problem,) = findings.problems
    assert (problem.code, problem.row, problem.count) == ("conflicting_labels", 4, 2)
    assert "1 (this one: 'y' here, 'x' in row 2)" in problem.message


def test_the_order_of_labels_is_no_conflict():
    rows = clean_rows([("a", ["x", "y"]), ("a", ["y", "x"])])
    findings = Findings()
    assert check_conflicts(rows, Repeats(np.array([1]), np.array([0, 0])), findings) == 0
    assert not findings.problems
