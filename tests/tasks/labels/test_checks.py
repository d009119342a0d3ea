"""Label checks: order of the label list, too few texts, similar spellings, splits compared with train."""

import pytest

from lft_ray.tasks.findings import Findings
from lft_ray.tasks.labels.checks import check_labels, check_unseen, label_counts, sorted_labels
from tests.tasks.tables import clean_rows


def rows_of(counts: dict[str, int]):
    return clean_rows([(f"text {label} {i}", [label]) for label, count in counts.items() for i in range(count)])


def codes(counts: dict[str, int], *, splits: int = 1) -> set[str]:
    findings = Findings()
    check_labels(rows_of(counts), splits=splits, allows_empty=False, findings=findings)
    return {problem.code for problem in findings.problems}


@pytest.mark.parametrize(
    ("labels", "expected"),
    [(["10", "9", "1"], ["1", "9", "10"]), (["b", "10", "a"], ["10", "a", "b"]), (["01", "1"], ["01", "1"])],
)
def test_sorted_labels_is_numeric_only_for_whole_numbers(labels, expected):
    assert sorted_labels(rows_of(dict.fromkeys(labels, 1)).values) == expected


def test_label_counts_are_by_frequency_then_by_name():
    assert list(label_counts(rows_of({"b": 1, "c": 2, "a": 1}).values).items()) == [("c", 2), ("a", 1), ("b", 1)]


def test_check_labels_needs_one_distinct_text_for_each_split():
    assert "label_too_few_rows" not in codes({"x": 60, "y": 3}, splits=3)
    assert "label_too_few_rows" in codes({"x": 60, "y": 2}, splits=3)


def test_check_labels_counts_distinct_texts_rather_than_rows():
    findings = Findings()
    rows = clean_rows([("same", ["x"])] * 5 + [(f"t {i}", ["y"]) for i in range(60)])
    check_labels(rows, splits=2, allows_empty=False, findings=findings)
    assert [problem.code for problem in findings.problems if problem.severity == "error"] == ["label_too_few_rows"]


@pytest.mark.parametrize(
    ("counts", "reported"),
    [
        ({"sport": 60, "sprot": 60}, False),  # two letters apart
        ({"sports": 60, "sport": 2}, True),
        ({"sports": 60, "sport": 40}, False),  # both are frequent
        ({"Sport": 60, "sport": 40}, True),  # case always counts
        ({"cat": 60, "car": 2}, False),  # too short to judge
        ({"level1": 60, "level2": 2}, False),  # numbered on purpose
    ],
)
def test_check_labels_reports_likely_misspellings(counts, reported):
    assert ("label_spelling" in codes(counts)) is reported


def test_check_labels_reports_imbalance_above_twenty_to_one():
    assert "imbalance" not in codes({"x": 200, "y": 10})
    assert "imbalance" in codes({"x": 201, "y": 10})


def test_check_unseen_reports_missing_labels_only_without_unseen_ones():
    train, findings = rows_of({"x": 2, "y": 2}), Findings()
    check_unseen(train, rows_of({"x": 1}), findings)
    assert [problem.code for problem in findings.problems] == ["label_missing_in_split"]
    findings = Findings()
    check_unseen(train, rows_of({"x": 1, "z": 1}), findings)
    assert [problem.code for problem in findings.problems] == ["unseen_label"]


@pytest.mark.parametrize(
    ("names", "code", "is_there"),
    [
        (["0", "1", "nan"], "missing_word", True),
        (["0.5", "1.25", "nan"], "float_label", True),
        (["0.5", "1.25", "inf"], "float_label", True),
        (["good", "bad", "NaN"], "missing_word", True),
        (["good", "bad", "None"], "missing_word", False),
        (["NA", "EU", "null"], "missing_word", False),
        (["x\ny", "z"], "label_line_break", True),
        (["x\u2028y", "z"], "label_line_break", True),
        (["x\0y", "z"], "label_line_break", True),
        (["'good'", "'bad'"], "label_quotes", True),
        (["don't", "do"], "label_quotes", False),
    ],
)
def test_names_that_are_hardly_names(names, code, is_there):
    assert (code in codes(dict.fromkeys(names, 60))) == is_there


def test_an_unseen_label_is_compared_with_those_of_train():
    findings = Findings()
    check_unseen(rows_of({"spam": 9, "ham": 9}), rows_of({"s\u0440am": 3, "ham": 3}), findings)
    assert "looks like 'spam' (U+0440" in findings.problems[0].message
