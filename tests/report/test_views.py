import io

import pytest
from rich.console import Console

from lft_ray.records import SizeCoverage, SizeOutcome
from lft_ray.report.formats import DASH
from lft_ray.report.live import LiveTable
from lft_ray.report.text import front_table
from lft_ray.report.views import comparison, curve_data, finalist_rows, front_data, ladder_rows, trial_rows
from lft_ray.selection.decide import decide
from tests.report.builders import experiment, records, selection, with_variants


def test_points_of_the_chart_are_finished_trials_with_the_winner_marked():
    data = front_data(records(), selection())
    assert [p["trial"] for p in data["points"]] == ["t1", "t2", "t3"]
    assert [p["trial"] for p in data["points"] if p["winner"]] == ["t2"]
    assert data["floor"] == pytest.approx(0.914 - 0.005)
    assert {c["trial"]: c["f1"] for c in data["confirmed"]} == {"t2": 0.911, "t3": 0.914}
    assert front_data(records(), None)["floor"] is None


def test_a_score_that_is_not_finite_is_missing_from_the_curve():
    curve = next(c for c in curve_data(records()) if c["trial"] == "t5")
    assert curve["loss"] == [1.1, None]


def test_an_unfinished_trial_has_no_reference_variant():
    assert [r.reference_variant is None for r in records()] == [False, False, False, True, True, True, False, False]


def test_search_trials_stand_before_fresh_seed_runs():
    assert [r["id"] for r in trial_rows(records())] == ["t1", "t2", "t3", "t4", "t5", "t6", "c1", "c2"]


def test_the_winner_is_compared_with_the_best_and_the_cheapest():
    rows = comparison(records(), selection())
    assert [r["name"] for r in rows] == ["Winner", "Best F1", "Cheapest"]
    assert (rows[0]["f1"], rows[0]["confirmed"]) == (0.912, 0.911)
    assert comparison(records(), None) == []


def test_every_finalist_is_shown_with_what_it_loses():
    rows = finalist_rows(selection())
    assert [(r["trial_id"], r["seeds"], r["f1"], r["standing"], r["winner"]) for r in rows] == [
        ("t1", 0, 0.88, "within noise", False),
        ("t2", 1, 0.911, "within noise", True),
        ("t3", 1, 0.914, "best", False),
    ]
    assert rows[1]["loss_points"] == pytest.approx(0.3)
    assert (rows[1]["upper_points"], rows[2]["loss_points"]) == (None, None)
    assert [row["is_seedless"] for row in rows] == [True, False, False]
    assert (rows[0]["difference"], rows[1]["difference"]) == (pytest.approx(0.031), None)
    assert finalist_rows(None) == []


def test_one_point_may_carry_all_names():
    only = selection().model_copy(update={"front": [selection().winner]})
    assert [r["name"] for r in comparison(records(), only)] == ["Winner and best F1 and cheapest"]


def test_a_point_says_its_variant_where_there_are_several():
    several = with_variants()
    choice = decide(several, experiment().selection, experiment().cost)
    data = front_data(several, choice)
    assert [(p["trial"], p["variant"]) for p in data["points"]] == [
        ("t1", "fp32, 128 tokens"), ("t2", "fp32, 32 tokens"), ("t2", "fp32, 128 tokens"),
        ("t3", "fp32, 32 tokens"), ("t3", "fp32, 128 tokens"),
    ]  # fmt: skip
    assert sum(p["winner"] for p in data["points"]) == 1
    assert {p["variant"] for p in front_data(records(), selection())["points"]} == {""}
    names = list(front_table(choice, several).columns[0].cells)
    assert "tfidf fp32, 128 tokens" in names
    assert list(front_table(choice, several).columns[6].cells).count("winner") == 1


def test_fresh_seeds_are_those_of_the_same_variant():
    several = with_variants()
    choice = decide(several, experiment().selection, experiment().cost)
    for row in [*comparison(several, choice), *front_data(several, choice)["confirmed"]]:
        trial = row.get("trial_id", row.get("trial"))
        if trial in ("t2", "t3"):
            cut = row["variant"] == "fp32, 32 tokens"
            expected = {"t2": 0.911, "t3": 0.914}[trial] - (0.004 if cut else 0.0)
            assert row.get("confirmed", row["f1"] if "trial" in row else None) == pytest.approx(expected)
    assert len(front_data(several, choice)["confirmed"]) > 1


def test_a_trial_shows_the_variant_that_its_curve_ends_with():
    several = with_variants()
    assert [r["f1"] for r in trial_rows(several)] == [r["f1"] for r in trial_rows(records())]


def test_a_distilled_trial_shows_its_teacher_wherever_its_configuration_stands():
    def distilled(item):
        return item.model_copy(update={"config": item.config.model_copy(update={"method": "distill", "teacher": "t3"})})

    found = [distilled(r) if r.trial_id == "t2" else r for r in records()]
    assert [r["method"] for r in trial_rows(found)][:3] == [DASH, "distill from t3", "full"]
    hover = {p["trial"]: p["hover"] for p in front_data(found, None)["points"]}
    assert "distill from t3" in hover["t2"]
    assert "distill" not in hover["t3"]
    out = io.StringIO()
    Console(file=out, width=160).print(front_table(None, found))
    assert next(line for line in out.getvalue().splitlines() if "distill from t3" in line).split()[0] == "minilm:3"
    live = io.StringIO()
    with LiveTable(8, console=Console(file=live, width=200)) as table:
        for item in found:
            table.trial_started(item.trial_id, item.config)
            table.trial_ended(item)
        Console(file=live, width=200).print(table._render())
    lines = [line for line in live.getvalue().splitlines() if "distill from t3" in line]
    assert len(lines) == 2
    assert all(line.split()[0] == "t2" for line in lines)


def test_the_ladder_has_a_row_for_every_size_and_says_why_one_is_missing():
    coverage = [
        SizeCoverage(model_size="minilm:12", outcome=SizeOutcome.NOT_TRIED, reason="not tried: out of time"),
        SizeCoverage(model_size="minilm:3", outcome=SizeOutcome.FINISHED),
    ]
    rows = ladder_rows(records(), selection(), coverage)
    assert [(row["model_size"], row["reason"]) for row in rows] == [
        ("tfidf", ""), ("minilm:3", ""), ("minilm:6", ""), ("minilm:12", "not tried: out of time"),
    ]  # fmt: skip
