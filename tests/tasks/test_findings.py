"""Findings: listed rows, counts, order, and the one error raised from them."""

import pytest

from lft_ray.errors import DataError
from lft_ray.tasks.findings import LISTED_ROWS, Findings, raise_on_errors


def test_error_rows_lists_the_first_rows_and_counts_the_others():
    findings = Findings()
    findings.of("a.csv").error_rows("bad", [(i, "is bad") for i in range(5)], summary="all bad", more=4)
    listed, counted = findings.problems[:LISTED_ROWS], findings.problems[LISTED_ROWS:]
    assert [problem.row for problem in listed] == [0, 1, 2]
    assert [(problem.row, problem.count, problem.message) for problem in counted] == [(None, 6, "6 more rows: all bad")]


def test_error_rows_adds_no_count_when_every_row_is_listed():
    findings = Findings()
    findings.error_rows("bad", [("a.csv", 1, "is bad")], summary="all bad")
    assert len(findings.problems) == 1


def test_problems_have_errors_first():
    findings = Findings()
    findings.warning("w1", "first")
    findings.error("e", "second")
    findings.warning("w2", "third")
    assert [problem.code for problem in findings.problems] == ["e", "w1", "w2"]
    assert findings.has_errors


def test_raise_on_errors_ignores_warnings():
    findings = Findings()
    findings.warning("w", "harmless")
    raise_on_errors(findings.problems)
    assert not findings.has_errors


def test_raise_on_errors_gives_a_shared_fix_once():
    findings = Findings()
    for row in (1, 2):
        findings.error("e", f"problem {row}", file="a.csv", row=row, fix="do this")
    with pytest.raises(DataError) as caught:
        raise_on_errors(findings.problems)
    assert "a.csv:1: problem 1" in caught.value.message
    assert caught.value.message.count("do this") == 1
