"""What the rows can decide, foreseen."""

import pytest

from lft_ray.candidates import TaskRecord
from lft_ray.selection.power import power_of


def power(rows, margin, *, seeds=3, metric="macro_f1", counts=None):
    counts = counts or dict.fromkeys("abcd", rows // 4)
    return power_of(counts, rows, task=TaskRecord.of("classification", metric), margin=margin, seeds=seeds)


def test_few_rows_decide_little_and_the_number_that_would_do_is_named():
    found = power(300, 0.02)
    assert found.decidable == pytest.approx(1.645 * (0.09 / 300 + 2 * 0.006**2 / 3) ** 0.5, rel=1e-3)
    assert not found.is_enough
    assert power(found.rows_needed + 4, 0.02).decidable == pytest.approx(0.02, rel=0.01)
    assert "300 validation rows and 3 seeds can decide differences of about 3.0 points" in found.sentence
    assert "not the selection.margin of 2 points: that needs about" in found.sentence
    assert "enough for the selection.margin of 5 points" in power(300, 0.05).sentence


def test_where_the_seeds_differ_more_than_the_margin_no_row_helps():
    found = power(10**7, 0.005)
    assert (found.rows_needed, found.is_enough) == (None, False)
    assert f"selection.confirmation_seeds: {found.seeds_needed} and more rows, or a wider margin" in found.sentence
    assert power(10**7, 0.005, seeds=found.seeds_needed).rows_needed is not None
    assert power(10**7, 0.005, seeds=found.seeds_needed - 1).rows_needed is None
    assert power(300, 0.0).sentence.endswith("no number of rows can show that.")


def test_rare_labels_cost_macro_f1_rows():
    skewed = {"a": 770, "b": 170, "c": 60}
    even = power(1000, 0.01).decidable
    assert power(1000, 0.01, counts=skewed).decidable > 1.2 * even
    assert power(1000, 0.01, metric="accuracy", counts=skewed).decidable == pytest.approx(even)
    assert power_of(
        {}, 1000, task=TaskRecord.of("classification", None), margin=0.01, seeds=3
    ).decidable == pytest.approx(even)
