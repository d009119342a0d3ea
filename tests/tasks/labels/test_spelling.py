"""One label in several Unicode spellings, and labels that only look alike."""

import pytest

from lft_ray.tasks.findings import Findings
from lft_ray.tasks.labels.checks import label_counts
from lft_ray.tasks.labels.spelling import check_spelling, lookalike, one_spelling
from tests.tasks.tables import clean_rows


def rows_of(*names: str):
    return clean_rows([(f"text {i}", [name]) for i, name in enumerate(names)])


@pytest.mark.parametrize("other", ["cafe\u0301", "caf\u00e9\u200b", "ca\u00adf\u00e9"])
def test_spellings_that_look_the_same_become_the_most_frequent_one(other):
    findings = Findings()
    train = rows_of("caf\u00e9", "caf\u00e9", other, "tea")
    found = one_spelling({"train": train, "test": rows_of(other, "tea")}, findings)
    assert label_counts(found["train"].values) == {"caf\u00e9": 3, "tea": 1}
    assert found["test"].values["label"] == [["caf\u00e9"], ["tea"]]
    assert [(p.severity, p.code, p.row, p.count) for p in findings.problems] == [
        ("warning", "label_unicode", 4, 1),
        ("warning", "label_unicode", 2, 1),
    ]
    assert "U+" in findings.problems[0].message


def test_a_row_with_both_spellings_has_the_label_once():
    rows = clean_rows([("a", ["two words", "two\u00a0words"]), ("b", ["two words"])])
    assert one_spelling({"train": rows}, Findings())["train"].values["label"] == [["two words"], ["two words"]]


def test_plain_labels_are_left_alone():
    findings = Findings()
    train = rows_of("Pos", "pos", "m2", "m\u00b2")
    assert one_spelling({"train": train}, findings)["train"] is train
    assert not findings.problems


@pytest.mark.parametrize(
    ("name", "other", "point"),
    [
        ("s\u0440am", "spam", "U+0440"),
        ("\uff36\uff49\uff53\uff41", "Visa", "U+FF36"),
        ("m\u00b2", "m2", "U+00B2"),
    ],
)
def test_look_alikes_are_told_with_their_code_points(name, other, point):
    findings = Findings()
    rows = rows_of(*[other] * 3, *[name] * 3)
    check_spelling(rows, label_counts(rows.values), findings)
    assert [problem.code for problem in findings.problems] == ["label_lookalike"]
    assert point in findings.problems[0].message


def test_an_unknown_label_names_the_one_it_looks_like():
    assert "looks like 'spam'" in lookalike("s\u0440am", ["ham", "spam"])
    assert "looks like '1.0'" in lookalike("1", ["0.0", "1.0"])
    assert lookalike("other", ["ham", "spam"]) == ""
