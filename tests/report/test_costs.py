"""Cost and data sections of the report."""

import pytest

from lft_ray.report.costs import commands, cost_view, data_view, environment_rows, winner_monthly
from lft_ray.report.views import front_data
from tests.handed_down import money
from tests.report.builders import dataset, experiment, profiles, records, selection


def test_dollars_of_the_report_are_those_of_the_records():
    view = cost_view(money(experiment()), profiles(), records())
    assert view["spent_usd"] == pytest.approx(0.008)
    assert sum(row["usd"] for row in view["spent"]) == pytest.approx(0.008)
    assert [p["model_size"] for p in view["profiles"]] == ["tfidf", "minilm:3", "minilm:6"]
    by_trial = {p["trial"]: p["usd"] for p in front_data(records(), None)["points"]}
    assert view["profiles"][1]["usd"] == pytest.approx(by_trial["t2"])
    assert not view["on_device"]


def test_the_minimum_of_replicas_sets_the_monthly_cost():
    month = winner_monthly(money(experiment()).month, profiles(), selection())
    assert month["is_floor"]
    assert month["usd"] == pytest.approx(0.05132 * 730)
    assert month["traffic_usd"] < month["usd"]
    assert winner_monthly(money(experiment()).month, None, None)["usd"] is None


def test_nested_environments_become_flat_rows():
    assert environment_rows({"a": {"b": 1, "c": ["x", "y"]}, "d": None}) == [
        ("a.b", "1"),
        ("a.c", "x, y"),
        ("d", "None"),
    ]


def test_the_data_section_lists_splits_in_order_and_errors_first():
    view = data_view(dataset(("a", "b")))
    assert [split.name for split in view["splits"]] == ["train", "validation", "test"]
    assert view["labels"][0] == {"label": "a", "counts": [400, 50, 50], "share": 0.5}
    found = dataset().problems[0]
    worse = found.model_copy(update={"severity": "error", "code": "z"})
    both = dataset().model_copy(update={"problems": [found, worse]})
    assert [problem.severity for problem in data_view(both)["problems"]] == ["error", "warning"]


def test_the_commands_repeat_the_study_under_another_name():
    assert commands("runs/news", "news").splitlines()[-1].endswith("--set name=news-again")
