"""The whole line in one process tree, on the second task: texts with several labels, from a Parquet file to answers."""

import json
import random

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lft_ray.client import Client
from lft_ray.config import Experiment
from lft_ray.pipeline import deploy, down, export, run_search, status
from lft_ray.records import TrialStatus
from lft_ray.run.ledger import Ledger
from lft_ray.selection.leaderboard import leaderboard

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

WORDS = {
    "joy": ["glad", "smiling", "delighted", "cheerful"],
    "anger": ["furious", "shouting", "outraged", "cross"],
    "surprise": ["suddenly", "unexpected", "astonished", "startled"],
}


@pytest.fixture(scope="module")
def goemotions_like(tmp_path_factory):
    """Columns text and labels (a list of names), as GoEmotions has them; some rows carry two labels, some none."""
    rng = random.Random(0)
    rows = []
    for number in range(240):
        labels = rng.sample(sorted(WORDS), k=rng.choice([0, 1, 1, 1, 2]))
        words = [rng.choice(WORDS[label]) for label in labels] + [f"person{number}", "was", "seen"]
        rng.shuffle(words)
        rows.append({"text": " ".join(words), "labels": labels})
    path = tmp_path_factory.mktemp("emotions") / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.fixture(scope="module")
def run(goemotions_like, tiny_bert):
    experiment = Experiment.parse(
        {
            "name": "emotions",
            "task": {"kind": "multilabel"},
            "data": {"train": str(goemotions_like), "split": {"validation": 0.2, "test": 0.2}},
            "models": [{"base": "tfidf"}, {"base": str(tiny_bert), "layers": [1, 2]}],
            "training": {
                "learning_rate": {"low": 1e-3, "high": 1e-2},
                "batch_size": [8],
                "epochs": [1],
                "max_length": 16,
            },
            "search": {"trials": 4, "sampler": "random", "object_store_mb": 100},
            "selection": {"policy": "best_f1", "confirmation_fraction": 0.25},
            "serve": {"port": 0},
            "storage": str(goemotions_like.parent / "runs"),
        }
    )
    return run_search(experiment)


def test_the_search_ends_with_a_front_a_winner_and_one_look_at_the_test_split(run):
    selection = run.selection()
    state = status(run)
    assert state["trials"] == {"done": 4 + sum(len(runs) for runs in selection.confirmed_f1.values())}
    assert selection.test_rows > 30
    # The predictions that the trials saved were compared, and gave their scores back.
    assert selection.validation_rows == run.dataset().splits["validation"].rows
    assert all(point.loss_upper is not None for point in selection.judged if point.standing != "best")
    # Which transformers one run rules out depends on rounding, so on the processor: the sentence follows the runs.
    confirmed = {record.config.model_size for record in Ledger(run.storage).records() if record.trial_id[0] == "c"}
    ending = "one seed per finalist does not show how far seeds differ." if confirmed else "so none was trained again."
    assert selection.reason.endswith(ending)
    assert set(selection.test_metrics) >= {"macro_f1", "micro_f1", "weighted_f1", "accuracy"}
    assert {row[0] for row in selection.panels[0].rows} == set(WORDS)
    # A word a label gives it away, so a bag of words must learn it: a wrong head, loss or threshold would show here.
    assert selection.test_f1 > 0.8


def test_the_leaderboard_has_the_documented_keys(run):
    records = Ledger(run.storage).records()
    board = json.loads(json.dumps(leaderboard(run.selection(), records)))
    assert {"front", "ladder", "winner", "trials"} <= set(board)
    keys = {"trial_id", "model_size", "precision", "max_length", "f1", "test_f1", "usd_per_million_predictions"}
    assert keys <= set(board["winner"])
    # No F1 without its interval.
    low, high = board["winner"]["f1_interval"]
    assert low <= board["winner"]["f1"] <= high
    trained = {record.config.model_size for record in records if record.status is TrialStatus.DONE}
    assert sorted(row["model_size"] for row in board["ladder"]) == sorted(trained)
    assert all(row["on_front"] or row["dominated_by"] for row in board["ladder"])
    assert board["trials"]["done"] == 4


def test_the_report_is_one_file_that_names_the_winner(run):
    html = run.storage.get("report.html").decode("utf-8")
    assert run.selection().winner.trial_id in html
    assert 'src="http' not in html


def test_finished_trials_are_kept_when_the_same_search_is_resumed(run):
    before = {path: run.storage.get(f"trials/{path}/record.json") for path in run.storage.folders("trials")}
    run_search(run.experiment(), resume=True)
    assert {path: run.storage.get(f"trials/{path}/record.json") for path in run.storage.folders("trials")} == before


def test_deploy_answers_with_every_label_and_leaves_nothing_behind(run):
    bundle = export(run)
    assert bundle.task_kind == "multilabel"
    endpoint = deploy(run)
    try:
        family = [psutil.Process(endpoint.pid), *psutil.Process(endpoint.pid).children(recursive=True)]
        with Client(endpoint.url) as client:
            ((best, *rest),) = client.predict(["glad and smiling person"])
            info = client.info()
        assert best.label == "joy"
        assert {score.label for score in (best, *rest)} == set(WORDS)
        assert info.task == "multilabel"
    finally:
        stopped = down(run)
    assert stopped is not None
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def test_only_done_trials_stand_on_the_front(run):
    from lft_ray.run.ledger import Ledger

    done = {r.trial_id for r in Ledger(run.storage).records() if r.status is TrialStatus.DONE}
    assert {point.trial_id for point in run.selection().front} <= done
