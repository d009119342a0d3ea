"""Marks that join labels, and marks that belong to names."""

import pytest

from lft_ray.tasks.findings import Findings
from lft_ray.tasks.labels.checks import label_counts
from lft_ray.tasks.labels.separators import check_separator, joined_names
from tests.tasks.tables import clean_rows


@pytest.mark.parametrize(
    "mark", [";", "|", "#", "/", ";;", "||", "\t", "\\", " ", "\uff0c", "\u3001", "\uff1b", "\u060c"]
)
def test_marks_between_labels(mark):
    names = [f"sun{mark}rain", f"sun{mark}wind", f"rain{mark}wind", "sun", "rain"]
    assert next(joined_names(names, several=True)).mark == mark


@pytest.mark.parametrize(
    "names",
    [
        ["Sci/Tech", "World", "Sports"],
        ["rec/autos", "rec/sport", "sci/med", "sci/space"],
        ["card_lost", "card_stolen", "pin_lost", "pin_change"],
        ["spam", "not spam"],
        ["C#", "F#", "Java"],
        ["very good", "good", "bad", "very bad"],
        ["0", "1"],
    ],
)
@pytest.mark.parametrize("several", [True, False])
def test_marks_inside_names(names, several):
    assert not list(joined_names(names, several=several))


def test_one_label_per_row_may_be_a_joined_list_too():
    rows = clean_rows([(f"t {i}", [name]) for i, name in enumerate(["sun,rain", "rain,wind", "sun", "rain", "wind"])])
    findings = Findings()
    check_separator(rows, label_counts(rows.values), several=False, findings=findings)
    assert [problem.code for problem in findings.problems] == ["label_separator"]
    assert "multilabel" in findings.problems[0].fix
