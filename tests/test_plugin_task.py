"""A user's own task, from its file to answers: the documentation's example, with a metric and a table of its own."""

import sys
from pathlib import Path

import pytest

from lft_ray.client import Client
from lft_ray.config import Experiment
from lft_ray.data.prepare import inspect
from lft_ray.pipeline import deploy, down, export, run_search
from lft_ray.run.ledger import Ledger

EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "lft_example_policy"
pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_bert):
    """A finished search; workers and endpoints find the plug-in by PYTHONPATH, as an installed package is found."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLE))
        patch.setenv("PYTHONPATH", str(EXAMPLE), prepend=":")
        folder = tmp_path_factory.mktemp("stars")
        experiment = Experiment.parse(
            {
                "name": "stars",
                "task": {"kind": "lft_example_policy.task:Stars", "label": "stars"},
                "data": {"train": str(EXAMPLE / "reviews.csv"), "split": {"validation": 0.25, "test": 0.25}},
                "models": [{"base": "tfidf"}, {"base": str(tiny_bert), "layers": [1]}],
                "training": {"learning_rate": 1e-3, "batch_size": [8], "epochs": [1], "max_length": 16},
                "search": {"trials": 2, "sampler": "random", "object_store_mb": 100},
                "selection": {"confirmation_fraction": 0},
                "serve": {"port": 0},
                "storage": str(folder / "runs"),
            }
        )
        assert inspect(experiment.task, experiment.data).errors == []
        yield run_search(experiment)
        sys.modules.pop("lft_example_policy.task", None)


def test_the_search_is_judged_by_the_metric_of_the_task(run):
    selection, records = run.selection(), Ledger(run.storage).records()
    assert [record.status for record in records] == ["done", "done"]
    for record in records:
        for variant in record.variants:
            assert variant.f1 == variant.metrics["closeness"]
            assert {"closeness", "macro_f1"} <= set(variant.metrics)
    assert "closeness" in selection.reason
    assert selection.test_f1 == selection.test_metrics["closeness"]
    low, high = selection.test_f1_interval
    assert low <= selection.test_f1 <= high
    assert all(point.f1_interval for point in selection.front)
    assert [panel.title for panel in selection.panels] == ["Distance", "Labels", "Confusion matrix"]


def test_report_and_card_show_its_table(run):
    html = run.storage.get("report.html").decode("utf-8")
    assert "Stars off" in html
    assert "closeness" in html
    export(run)
    card = run.storage.get("bundle/MODEL_CARD.md").decode("utf-8")
    assert "## Distance" in card
    assert "closeness (test" in card


def test_it_is_served_and_promoted_by_the_same_gate(run):
    endpoint = deploy(run)
    try:
        with Client(endpoint.url) as client:
            ((best, *rest),) = client.predict(["This chair number 0 is awful, never again"])
            assert {score.label for score in (best, *rest)} == set("12345")
            before = client.info().version
            other = next(
                r.trial_id for r in Ledger(run.storage).records() if r.trial_id != run.selection().winner.trial_id
            )
            changed = deploy(run, trial_id=other, overrides=["serve.rollout.min_agreement=0"])
            assert changed.version != before
            assert client.info().version == changed.version
            assert client.info().task == "lft_example_policy.task:Stars"
    finally:
        down(run)
