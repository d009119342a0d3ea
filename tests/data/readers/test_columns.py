"""Columns found by name."""

import pytest

from lft_ray.data.readers.columns import WantedColumns
from lft_ray.tasks.columns import TEXT, Column, input_columns
from lft_ray.tasks.findings import Findings

COLUMNS = (TEXT, Column("label", ("label", "class"), "names", "truth"))


def find(names, columns=COLUMNS, *, to_answer=False, **given):
    findings = Findings()
    wanted = input_columns(columns) if to_answer else columns
    found = WantedColumns(wanted, given, to_answer).find(names, findings.of("a.csv"))
    found = found and tuple(found[column.role] for column in wanted)
    return found, [problem.code for problem in findings.problems]


@pytest.mark.parametrize(
    ("names", "options", "expected"),
    [
        (["class", "label", "sentence", "text"], {}, (3, 1)),  # the preferred name wins, not the first column
        (["Text", "LABEL"], {}, (0, 1)),
        (["text", "body", "label"], {"text": "body"}, (1, 2)),
        (["Body", "body", "label"], {"text": "body"}, (1, 2)),  # an exact name is not ambiguous
        (["text"], {"to_answer": True}, (0,)),
    ],
)
def test_find_prefers_exact_then_usual_names(names, options, expected):
    assert find(names, **options) == (expected, [])


@pytest.mark.parametrize(
    ("names", "options", "code"),
    [
        (["text", "text", "label"], {}, "duplicate_header"),
        (["Body", "BODY", "label"], {"text": "body"}, "ambiguous_column"),
        (["text", "label"], {"text": "label"}, "same_column"),
        (["text"], {}, "no_label_column"),
        (["label"], {"to_answer": True}, "no_text_column"),
    ],
)
def test_find_reports_why_a_column_cannot_be_chosen(names, options, code):
    assert find(names, **options) == (None, [code])


PAIR = (
    Column("text_a", ("text_a", "question"), "text", "input"),
    Column("text_b", ("text_b", "answer"), "text", "input"),
    *COLUMNS[1:],
)


@pytest.mark.parametrize(
    ("names", "given", "expected"),
    [
        (["label", "answer", "question"], {}, (2, 1, 0)),
        (["label", "a", "b"], {"text_a": "b", "text_b": "a"}, (2, 1, 0)),
    ],
)
def test_find_takes_any_number_of_columns(names, given, expected):
    assert find(names, PAIR, **given) == (expected, [])
    assert find(names, PAIR, to_answer=True, **given) == (expected[:2], [])


@pytest.mark.parametrize(
    ("names", "given", "codes"),
    [
        (["label"], {}, ["no_text_a_column", "no_text_b_column"]),
        (["question", "label"], {"text_b": "question"}, ["same_column"]),
        (["question", "answer", "label"], {"text_b": "label"}, ["same_column"]),
        (["question", "Answer", "ANSWER", "label"], {}, ["ambiguous_column"]),
    ],
)
def test_find_reports_every_role(names, given, codes):
    found = WantedColumns(PAIR, given)
    findings = Findings()
    assert found.find(names, findings.of("a.csv")) is None
    assert [problem.code for problem in findings.problems] == codes


def test_a_hint_for_the_truth_is_no_usual_name_of_an_input():
    columns = (TEXT, Column("label", ("posts",), "names", "truth"))
    findings = Findings()
    assert WantedColumns(columns).find(["text", "note", "my_posts"], findings.of("a.csv")) is None
    assert "Did you mean 'my_posts'?" in findings.problems[0].message
    assert WantedColumns(columns).find(["text", "post"], findings.of("b.csv")) is None
    assert "Did you mean" not in findings.problems[1].message


def test_find_trims_padded_names_with_a_warning():
    assert find([" text", "label"]) == ((0, 1), ["padded_header"])


def test_a_name_in_another_unicode_form_is_the_column_and_told():
    assert find(["\uff34\uff25\uff38\uff34", "label"], text="text") == ((0, 1), ["column_case"])
    assert find(["Re\u0301sume\u0301", "label"], text="r\u00e9sum\u00e9") == ((0, 1), ["column_case"])
    assert find(["\u6587\u672c", "\u6807\u7b7e"], text="\u6587\u672c", label="\u6807\u7b7e") == ((0, 1), [])
