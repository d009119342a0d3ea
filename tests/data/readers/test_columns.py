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


def test_find_trims_padded_names_with_a_warning():
    assert find([" text", "label"]) == ((0, 1), ["padded_header"])
