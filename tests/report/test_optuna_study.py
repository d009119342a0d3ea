import optuna
import pytest
from optuna.trial import TrialState

from lft_ray.errors import InputError
from lft_ray.report.optuna_study import METRICS, write_study
from tests.report.builders import records


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'study.db'}"


def load(url):
    return optuna.load_study(study_name="news", storage=url)


def test_optuna_loads_the_trials_with_their_values_and_decoded_params(url):
    # The ledger's order is by id, fresh-seed runs first: the study has them after the trials they repeat.
    assert write_study("news", "macro_f1", records()[::-1], url) == 8
    study = load(url)
    assert [d.name for d in study.directions] == ["MINIMIZE", "MAXIMIZE"]
    assert study.metric_names == list(METRICS)
    trials = {t.user_attrs["trial_id"]: t for t in study.trials}
    assert list(trials) == ["t1", "t2", "t3", "t4", "t5", "t6", "c1", "c2"]
    done = next(r for r in records() if r.trial_id == "t2")
    assert trials["t2"].values == [done.variants[0].usd_per_million_predictions, 0.912]
    params = {"model_size": "minilm:3", "learning_rate": 3e-5, "batch_size": 16, "epochs": 2}
    assert params.items() <= trials["t2"].params.items()
    # A field that a model does not have is no parameter of its trial.
    assert "learning_rate" not in trials["t1"].params
    assert {t.user_attrs["trial_id"] for t in study.best_trials} == {"t1", "t2", "t3"}


def test_only_finished_trials_are_complete(url):
    write_study("news", "macro_f1", records(), url)
    states = {t.user_attrs["trial_id"]: t.state for t in load(url).trials}
    assert states["t4"] is TrialState.PRUNED
    assert states["t5"] is states["t6"] is TrialState.FAIL
    assert {states[i] for i in ("t1", "t2", "t3", "c1", "c2")} == {TrialState.COMPLETE}


def test_attributes_say_what_a_trial_was_and_cost(url):
    write_study("news", "macro_f1", records(), url)
    attrs = {t.user_attrs["trial_id"]: t.user_attrs for t in load(url).trials}
    assert {"seed": 0, "status": "done", "training_usd": 0.001, "role": "confirm", "confirms": "t2"}.items() <= attrs[
        "c1"
    ].items()
    assert attrs["t4"]["reason"] == "deadline"


def test_a_finished_trial_without_a_serving_cost_has_no_point(url):
    bare = records()[1]
    bare = bare.model_copy(
        update={"variants": [bare.variants[0].model_copy(update={"usd_per_million_predictions": None})]}
    )
    write_study("news", "macro_f1", [bare], url)
    assert load(url).trials[0].state is TrialState.FAIL


def test_writing_again_replaces_that_study_and_no_other(url):
    optuna.create_study(study_name="mine", storage=url)
    for count in (8, 3):
        assert write_study("news", "macro_f1", records()[:count], url) == count
        assert len(load(url).trials) == count
    assert {s.study_name for s in optuna.get_all_study_summaries(url)} == {"mine", "news"}


def test_an_empty_run_is_an_empty_study(url):
    assert write_study("news", "macro_f1", [], url) == 0
    assert load(url).trials == []


@pytest.mark.parametrize("bad", ["news.db", "nosuch:///x.db", "sqlite:////no/such/folder/x.db"])
def test_a_url_that_cannot_be_opened_is_bad_input(bad):
    with pytest.raises(InputError, match="--study"):
        write_study("news", "macro_f1", [], bad)
