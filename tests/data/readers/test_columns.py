"""Columns found by name."""

import pytest

from lft_ray.data.findings import Findings
from lft_ray.data.readers.columns import WantedColumns

NAMES = ("label", "class")


def find(names, text=None, label=None, *, only_text=False):
    findings = Findings()
    found = WantedColumns(text, label, NAMES, only_text).find(names, findings.of("a.csv"))
    return found, [problem.code for problem in findings.problems]


@pytest.mark.parametrize(
    ("names", "options", "expected"),
    [
        (["class", "label", "sentence", "text"], {}, (3, 1)),  # the preferred name wins, not the first column
        (["Text", "LABEL"], {}, (0, 1)),
        (["text", "body", "label"], {"text": "body"}, (1, 2)),
        (["Body", "body", "label"], {"text": "body"}, (1, 2)),  # an exact name is not ambiguous
        (["text"], {"only_text": True}, (0, 0)),
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
        (["label"], {"only_text": True}, "no_text_column"),
    ],
)
def test_find_reports_why_a_column_cannot_be_chosen(names, options, code):
    assert find(names, **options) == (None, [code])


def test_find_trims_padded_names_with_a_warning():
    assert find([" text", "label"]) == ((0, 1), ["padded_header"])
