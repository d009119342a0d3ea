"""Records: strict files, and the values that are derived from fields."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from lft_ray.processes import this_process
from lft_ray.records import (
    CanaryRecord,
    DatasetRecord,
    Endpoint,
    ScoredVariant,
    TrialConfig,
    TrialRecord,
    Usage,
    now_utc,
)


def scored(precision: str, max_length: int, f1: float) -> ScoredVariant:
    return ScoredVariant(precision=precision, max_length=max_length, f1=f1)


def trial(**fields) -> TrialRecord:
    variants = [scored("fp32", 64, 0.99), scored("fp32", 128, 0.9), scored("int8", 128, 0.95)]
    defaults = {"config": TrialConfig(model_size="tiny:1"), "status": "done", "variants": variants}
    return TrialRecord(**{"trial_id": "t000", "attempt": 1} | defaults | fields)


def test_a_record_survives_json_and_refuses_keys_of_another_version():
    assert TrialRecord.model_validate_json(trial().model_dump_json()) == trial()
    with pytest.raises(ValidationError, match="core_hours"):
        Usage.model_validate({"core_hours": 1.0})


def test_a_copy_with_an_unknown_field_is_refused():
    assert trial().replace(reason="deadline").reason == "deadline"
    with pytest.raises(TypeError, match="Did you mean 'reason'"):
        trial().replace(reson="deadline")


def test_the_reference_variant_is_at_the_trained_length_and_not_the_best():
    assert trial().reference_variant == scored("fp32", 128, 0.9)
    assert trial(status="stopped").reference_variant is None
    assert trial(variants=[]).reference_variant is None


def test_a_variant_is_found_by_precision_and_length():
    assert trial().variant("int8", 128).f1 == 0.95
    assert trial().variant("int8", 64) is None


def endpoint(**fields) -> Endpoint:
    values: dict[str, Any] = {
        "url": "http://h:1",
        "version": "v",
        "process": None,
        "ports": {},
        "state": "ready",
        "bundle_uri": "b",
    }
    return Endpoint(**values | fields)


def test_an_endpoint_on_an_existing_cluster_has_no_process():
    assert endpoint().pid == 0
    assert endpoint(process=this_process()).pid == this_process().pid


@pytest.mark.parametrize(
    ("running", "state", "expected"), [(True, "ready", True), (True, "stopped", False), (False, "ready", False)]
)
def test_a_canary_runs_only_on_a_live_endpoint(running, state, expected):
    canary = CanaryRecord(
        version="w", share=0.1, minutes=10, elapsed_minutes=1, requests=5, current_requests=45, errors=0,
        current_errors=0, p95_ms=5, current_p95_ms=5, drift=0.0, running=running,
    )  # fmt: skip
    assert endpoint(canary=canary, state=state).has_canary is expected
    assert not endpoint().has_canary


def test_times_are_utc_and_in_whole_seconds():
    now = datetime.fromisoformat(now_utc())
    assert now.utcoffset().total_seconds() == 0
    assert now.microsecond == 0


OLD_RUNS = sorted((Path(__file__).parent / "data").glob("run_*/dataset.json"))


@pytest.mark.parametrize("path", OLD_RUNS, ids=lambda path: path.parent.name)
def test_the_data_of_labels_is_stored_as_in_earlier_versions(path):
    stored = json.loads(path.read_text(encoding="utf-8"))
    record = DatasetRecord.model_validate(stored)
    assert record.columns == {"text": stored["text_column"], "label": stored["label_column"]}
    assert record.facts == {"labels": stored["labels"]}
    assert set(record.model_dump()) == set(json.loads(record.model_dump_json())) == set(DatasetRecord.model_fields) - {
        "other_columns", "other_facts"
    }  # fmt: skip


def test_other_columns_and_facts_are_stored():
    old = DatasetRecord.model_validate_json(OLD_RUNS[0].read_text(encoding="utf-8"))
    record = old.replace(labels=[], other_columns={"a": "b"}, other_facts={"longest": 3})
    assert (record.columns, record.facts) == ({"a": "b"}, {"longest": 3})
    assert DatasetRecord.model_validate_json(record.model_dump_json()) == record
