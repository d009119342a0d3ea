import hashlib

from lft_ray.run.finished import is_finished, mark_finished
from lft_ray.run.folder import RunFolder
from lft_ray.run.ledger import Ledger, StartedTrial
from tests.report.builders import experiment, record, selection


def test_a_run_is_finished_until_something_changes(tmp_path):
    wanted = experiment().replace(storage=str(tmp_path))
    run = RunFolder.begin(wanted, resume=False, replace=False)
    ledger = Ledger(run.storage)
    assert not is_finished(run, wanted, ledger)
    ledger.put(record("t000", "tfidf", f1=0.9))
    run.put("selection.json", selection())
    mark_finished(run, wanted, ledger)
    assert is_finished(run, wanted, Ledger(run.storage))
    assert not is_finished(run, wanted.with_overrides(["search.trials=99"]), ledger)
    assert not is_finished(run, wanted.with_overrides(["selection.margin=0.1"]), ledger)
    ledger.start(StartedTrial(trial_id="t001", number=1, config=ledger.get("t000").config))
    assert not is_finished(run, wanted, ledger)
    ledger.put(record("t001", "minilm:3", f1=0.91))
    assert not is_finished(run, wanted, ledger)
    mark_finished(run, wanted, ledger)
    run.put("selection.json", selection().replace(decided_at="later"))
    assert not is_finished(run, wanted, ledger)


def test_a_finished_run_stays_so_where_its_folder_was_moved(tmp_path):
    wanted = experiment().replace(storage=str(tmp_path / "a"))
    run = RunFolder.begin(wanted, resume=False, replace=False)
    Ledger(run.storage).put(record("t000", "tfidf", f1=0.9))
    run.put("selection.json", selection())
    mark_finished(run, wanted, Ledger(run.storage))
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / wanted.name).rename(tmp_path / "b" / "renamed")
    moved = wanted.replace(storage=str(tmp_path / "b"), name="renamed")
    run = RunFolder.begin(moved, resume=True, replace=False)
    assert is_finished(run, run.experiment(), Ledger(run.storage))
    assert run.experiment().run_uri == run.uri


def test_marks_of_earlier_versions_are_read(tmp_path):
    wanted = experiment().replace(storage=str(tmp_path))
    run = RunFolder.begin(wanted, resume=False, replace=False)
    ledger = Ledger(run.storage)
    ledger.put(record("t000", "tfidf", f1=0.9))
    run.put("selection.json", selection())
    mark_finished(run, wanted, ledger)
    digest = hashlib.sha256(wanted.to_yaml().encode()).hexdigest()
    run.put_json("finished.json", {**run.json("finished.json"), "experiment_sha256": digest})
    assert is_finished(run, wanted, ledger)
