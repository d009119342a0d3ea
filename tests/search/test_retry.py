import pytest

from lft_ray.records import TrialConfig, TrialRecord, TrialResult, Usage
from lft_ray.run.ledger import Ledger, StartedTrial
from lft_ray.run.storage import Storage
from lft_ray.search.retry import retry_failed
from lft_ray.train.device.usage_notes import noted_usage


def test_a_failed_trial_that_runs_again_keeps_its_record_and_its_charge(tmp_path):
    ledger = Ledger(Storage(tmp_path))
    config = TrialConfig(model_size="tiny:1")
    for number, status in enumerate(["done", "failed"]):
        trial_id = f"t00{number}"
        ledger.start(StartedTrial(trial_id=trial_id, number=number, config=config))
        usage = Usage(core_s=7.0, wall_s=8.0)
        ledger.put(TrialRecord(trial_id=trial_id, attempt=1, config=config, status=status, usage=usage))
        ledger.storage.put(f"trials/{trial_id}/result-1.json", ledger.get(trial_id).model_dump_json())
    failed = ledger.ended("t001")
    assert retry_failed(ledger) == "failed trials that run again: t001"
    for found in (ledger, Ledger(Storage(tmp_path))):
        assert [record.trial_id for record in found.records()] == ["t000"]
        assert [trial.trial_id for trial in found.unfinished()] == ["t001"]
        assert found.failed_before("t001") == [failed]
    assert noted_usage(Storage(tmp_path).child("trials", "t001", "state")) == Usage(core_s=7.0, wall_s=8.0)
    # The result of the failure is not adopted as if its driver had died.
    assert ledger.adopt(lambda result, trial: pytest.fail("adopted")) == []
    assert retry_failed(ledger) == "failed trials that run again: none"


def test_the_failure_of_an_attempt_that_was_given_up_is_not_adopted(tmp_path):
    """Its host lost the network, and wrote when it came back; the attempt after it had not ended."""
    ledger = Ledger(Storage(tmp_path))
    config = TrialConfig(model_size="tiny:1")
    ledger.start(StartedTrial(trial_id="t000", number=0, config=config, attempt=2))
    result = TrialResult(trial_id="t000", attempt=1, config=config, status="failed", reason="no network")
    ledger.storage.put("trials/t000/result-1.json", result.model_dump_json())

    def price(result, trial):
        return TrialRecord(**result.model_dump())

    assert ledger.adopt(price) == []
    ledger.storage.put("trials/t000/result-2.json", result.replace(attempt=2, reason="bad").model_dump_json())
    assert [record.reason for record in ledger.adopt(price)] == ["bad"]
