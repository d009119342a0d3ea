import json

from lft_ray.config import CostSpec, SelectionSpec
from lft_ray.selection.decide import decide
from lft_ray.selection.leaderboard import leaderboard
from tests.selection.builders import study, trial


def test_keys_are_those_that_scripts_rely_on():
    choice = decide(study(), SelectionSpec(), CostSpec()).model_copy(update={"test_f1": 0.91})
    board = leaderboard(choice, study())
    assert list(board) == [
        "front", "ladder", "winner", "trials", "reason", "finalists", "verdict", "rows_needed", "precision_checks",
        "remarks", "compared_with", "not_compared", "validation_rows", "coverage",
    ]  # fmt: skip
    assert board["winner"] == {
        "trial_id": "t2", "model_size": "minilm:3", "precision": "fp32", "max_length": 128, "f1": 0.912,
        "f1_interval": None, "checkpoint": "t2", "checkpoint_f1": None, "checkpoint_f1_interval": None,
        "test_f1": 0.91, "test_f1_interval": None, "test_rows": 0, "usd_per_million_predictions": 0.04,
    }  # fmt: skip
    assert (board["verdict"], board["rows_needed"]) == ("unconfirmed", None)
    standing = {row["trial_id"]: row["standing"] for row in board["finalists"]}
    assert standing == {"t1": "within_noise", "t2": "within_noise", "t3": "best", "t4": "within_noise"}
    assert {"search_f1", "fresh_f1", "loss", "loss_upper"} <= set(board["finalists"][0])
    confirm = {"confirm": 0, "confirm_failed": 0, "confirm_stopped": 0}
    assert board["trials"] == {"done": 5, "stopped": 1, "failed": 0, "infeasible": 0, **confirm}
    assert json.loads(json.dumps(board)) == board


def test_ladder_names_what_dominates_each_size():
    board = leaderboard(None, study())
    assert [(r["model_size"], r["on_front"], r["dominated_by"]) for r in board["ladder"]] == [
        ("tfidf", True, ""), ("minilm:3", True, ""), ("minilm:2", False, "t2 (minilm:3)"), ("minilm:6", True, ""),
    ]  # fmt: skip


def test_leaderboard_before_the_decision_and_before_the_first_trial():
    board = leaderboard(None, [*study(), trial("c1", "minilm:3", 0.9, 0.04, confirms="t2")])
    assert board["winner"] is None
    assert [p["trial_id"] for p in board["front"]] == ["t1", "t2", "t3"]
    assert board["trials"]["confirm"] == 1
    empty = leaderboard(None, [])
    assert (empty["front"], empty["ladder"], empty["winner"]) == ([], [], None)
    assert (empty["finalists"], empty["verdict"], empty["rows_needed"]) == ([], None, None)


def test_leaderboard_names_the_teacher_of_distilled_points():
    records = [
        r.model_copy(update={"config": r.config.model_copy(update={"method": "distill", "teacher": "t3"})})
        if r.trial_id == "t2"
        else r
        for r in study()
    ]
    board = leaderboard(None, records)
    taught = {r["trial_id"]: (r["method"], r["teacher"]) for r in [*board["front"], *board["ladder"]]}
    assert taught["t2"] == ("distill", "t3")
    assert taught["t1"] == ("full", "")
