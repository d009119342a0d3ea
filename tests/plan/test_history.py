import shutil

import pytest

from lft_ray.plan.history import RunHistory, load_history
from lft_ray.records import TrialConfig, TrialRecord, TrialStatus, Usage
from lft_ray.run.folder import RunFolder
from lft_ray.run.ledger import Ledger, StartedTrial
from tests.plan.test_estimate import book, changed, plan, profile, row


def history_of(experiment, dataset) -> RunHistory:
    max_length = experiment.training.max_length
    return load_history(experiment.run_uri, dataset, max_length=max_length, serve=experiment.serve)


def write_run(experiment, dataset, name: str, profiles, where: str = "") -> RunFolder:
    run = RunFolder.begin(changed(experiment, name=name), resume=False, replace=True)
    run.put("dataset.json", dataset)
    run.put("profiles.json", book(profiles, where))
    return run


@pytest.fixture
def runs(experiment):
    yield
    shutil.rmtree(experiment.storage, ignore_errors=True)


@pytest.mark.usefixtures("runs")
def test_profiles_of_this_machine_are_found_and_those_of_another_are_not(experiment, dataset):
    write_run(experiment, dataset, "far", [profile("minilm:1", 0.001)], "another machine")
    write_run(experiment, dataset, "near", [profile("minilm:6", 0.009), profile("minilm:1", 0.003, threads=4)])
    found = history_of(experiment, dataset)
    assert list(found.profiles) == [("minilm:6", "fp32", 32)]
    assert [uri.rpartition("/")[2] for uri in found.profiled_in] == ["near"]


@pytest.mark.usefixtures("runs")
def test_a_profile_on_longer_texts_or_tfidf_on_other_data_is_not_reused(experiment, dataset):
    longer = dataset.model_copy(update={"sample_texts": ["word " * 20] * 5})
    write_run(experiment, longer, "long", [profile("minilm:1", 0.001)])
    other = dataset.model_copy(update={"fingerprint": "0" * 64})
    write_run(experiment, other, "other", [profile("tfidf", 1e-4), profile("minilm:6", 0.009)])
    assert list(history_of(experiment, dataset).profiles) == [("minilm:6", "fp32", 32)]


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize(
    "change", [{"engine": "torch"}, {"preset": "latency"}, {"threads": 2}, {"engine": "torch", "precision": "int8"}]
)
def test_profiles_of_another_engine_preset_or_core_count_are_not_reused(experiment, dataset, change):
    write_run(experiment, dataset, "before", [profile("minilm:1", 0.002, **change)])
    assert history_of(experiment, dataset).book is None
    write_run(experiment, dataset, "bf16", [profile("minilm:1", 0.002, engine="torch", precision="bf16")])
    assert list(history_of(experiment, dataset).profiles) == [("minilm:1", "bf16", 32)]


@pytest.mark.usefixtures("runs")
def test_finished_trials_of_an_earlier_run_teach_the_forecast(experiment, dataset):
    run = write_run(experiment, dataset, "plan", [profile("minilm:1", 0.002)])
    config = TrialConfig(model_size="minilm:1", epochs=1, max_length=32, learning_rate=1e-4, batch_size=16)
    ledger = Ledger(run.storage)
    ledger.start(StartedTrial(trial_id="t000", number=0, config=config))
    usage = Usage(core_s=3.0, wall_s=4.0)
    ledger.put(TrialRecord(trial_id="t000", attempt=1, config=config, status=TrialStatus.DONE, usage=usage))
    history = history_of(experiment, dataset)
    found = plan(experiment, dataset, history)
    assert row(found, "minilm:1").predicted_s == pytest.approx(4.0)
    assert "1 finished trials of" in found.training_rates
    assert "default rates" in plan(experiment, dataset).training_rates


@pytest.mark.usefixtures("runs")
def test_a_damaged_run_is_skipped(experiment, dataset):
    run = write_run(experiment, dataset, "broken", [profile("minilm:1", 0.002)])
    run.storage.put("profiles.json", "{")
    assert history_of(experiment, dataset).book is None


def test_history_without_profiles_has_no_profile_book():
    assert RunHistory().book is None
