from lft_ray.run.finished import is_finished, mark_finished
from lft_ray.run.folder import RunFolder
from lft_ray.run.ledger import Ledger, StartedTrial
from tests.report.builders import experiment, record, selection


def test_a_run_is_finished_until_something_changes(tmp_path):
    wanted = experiment().replace(storage=str(tmp_path))
    run = RunFolder.begin(wanted, resume=False, replace=False)
    ledger = Ledger(run.storage)
    assert not is_finished(run, wanted.to_yaml(), ledger)
    ledger.put(record("t000", "tfidf", f1=0.9))
    run.put("selection.json", selection())
    mark_finished(run, wanted.to_yaml(), ledger)
    assert is_finished(run, wanted.to_yaml(), Ledger(run.storage))
    assert not is_finished(run, wanted.with_overrides(["search.trials=99"]).to_yaml(), ledger)
    assert not is_finished(run, wanted.with_overrides(["selection.margin=0.1"]).to_yaml(), ledger)
    ledger.start(StartedTrial(trial_id="t001", number=1, config=ledger.get("t000").config))
    assert not is_finished(run, wanted.to_yaml(), ledger)
    ledger.put(record("t001", "minilm:3", f1=0.91))
    assert not is_finished(run, wanted.to_yaml(), ledger)
    mark_finished(run, wanted.to_yaml(), ledger)
    run.put("selection.json", selection().replace(decided_at="later"))
    assert not is_finished(run, wanted.to_yaml(), ledger)
