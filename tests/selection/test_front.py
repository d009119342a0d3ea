import pytest
from hypothesis import given
from hypothesis import strategies as st

from lft_ray.records import FrontPoint, ScoredVariant, TrialRecord
from lft_ray.selection.front import dominates, front, hypervolume, ladder, points_of
from tests.selection.builders import study, trial


def point(trial_id, usd, f1, size="m"):
    return FrontPoint(
        trial_id=trial_id, model_size=size, precision="fp32", max_length=128, f1=f1, usd_per_million_predictions=usd
    )


def test_only_finished_search_trials_become_points():
    records = [*study(), trial("c1", "minilm:3", 0.99, 0.001, confirms="t2")]
    assert [p.trial_id for p in points_of(records)] == ["t1", "t2", "t3", "t4", "t6"]


def test_each_priced_variant_is_a_point_and_an_unpriced_one_is_none():
    variants = [
        ScoredVariant(precision="bf16", max_length=128, f1=0.91, usd_per_million_predictions=0.02),
        ScoredVariant(precision="fp32", max_length=128, f1=0.912, usd_per_million_predictions=0.04),
        ScoredVariant(precision="fp32", max_length=256, f1=0.913),
    ]
    points = points_of([trial("t1", "minilm:3", 0, 0, variants=variants)])
    assert [(p.precision, p.f1) for p in points] == [("bf16", 0.91), ("fp32", 0.912)]


def test_front_keeps_what_nothing_dominates():
    assert [p.trial_id for p in front(points_of(study()))] == ["t1", "t2", "t3"]


def test_of_equal_points_the_lower_trial_id_stays():
    assert [p.trial_id for p in front([point("b", 1, 0.9), point("a", 1, 0.9)])] == ["a"]
    assert dominates(point("a", 1, 0.9), point("b", 1, 0.9))
    assert not dominates(point("b", 1, 0.9), point("a", 1, 0.9))


def test_trial_999_is_earlier_than_trial_1000():
    assert [p.trial_id for p in front([point("t1000", 1, 0.9), point("t999", 1, 0.9)])] == ["t999"]


def test_front_of_nothing_is_empty():
    assert front([]) == []
    assert ladder([]) == []


coordinates = st.tuples(st.integers(1, 6), st.integers(0, 6))


@given(st.lists(coordinates, max_size=12))
def test_front_is_exactly_the_points_that_no_point_dominates(pairs):
    points = [point(f"t{i:02d}", float(usd), f1 / 10) for i, (usd, f1) in enumerate(pairs)]
    expected = {p.trial_id for p in points if not any(dominates(q, p) for q in points)}
    assert {p.trial_id for p in front(points)} == expected


def test_ladder_has_the_best_of_each_size_and_says_what_dominates_it():
    rows = ladder(points_of(study()))
    assert [(r.model_size, r.trial_id, r.on_front, r.dominated_by) for r in rows] == [
        ("tfidf", "t1", True, ""),
        ("minilm:3", "t2", True, ""),
        ("minilm:2", "t4", False, "t2 (minilm:3)"),
        ("minilm:6", "t3", True, ""),
    ]


def test_hypervolume_of_one_point_is_its_rectangle_on_a_log_scale():
    box = {"usd_bounds": (0.01, 1.0), "f1_bounds": (0.5, 1.0)}
    assert hypervolume([point("a", 0.1, 0.75)], **box) == pytest.approx(0.25)
    assert hypervolume([point("a", 0.01, 1.0)], **box) == pytest.approx(1.0)
    assert hypervolume([point("a", 1.0, 1.0)], **box) == 0
    assert hypervolume([point("a", 0.1, 0.4)], **box) == 0
    assert hypervolume([], **box) == 0


def test_hypervolume_of_two_points_counts_the_overlap_once():
    box = {"usd_bounds": (0.01, 1.0), "f1_bounds": (0.0, 1.0)}
    points = [point("a", 0.1, 0.5), point("b", 0.01, 0.25)]
    assert hypervolume(points, **box) == pytest.approx(0.25 + 0.5 * 0.25)


@given(st.lists(coordinates, min_size=1, max_size=8), coordinates)
def test_hypervolume_never_falls_when_a_point_is_added(pairs, extra):
    box = {"usd_bounds": (0.5, 7.0), "f1_bounds": (0.0, 0.6)}
    points = [point(f"t{i}", float(usd), f1 / 10) for i, (usd, f1) in enumerate(pairs)]
    before = hypervolume(points, **box)
    after = hypervolume([*points, point("x", float(extra[0]), extra[1] / 10)], **box)
    assert 0 <= before <= after + 1e-12 <= 1 + 1e-9


def test_an_empty_box_is_an_error():
    with pytest.raises(ValueError, match="empty box"):
        hypervolume([], usd_bounds=(1, 1), f1_bounds=(0, 1))


def test_records_survive_the_json_round_trip_as_equal_points():
    again = [TrialRecord.model_validate_json(r.model_dump_json()) for r in study()]
    assert points_of(again) == points_of(study())
