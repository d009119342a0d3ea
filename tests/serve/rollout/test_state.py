import json

import pytest
from pydantic import ValidationError

from lft_ray.serve.rollout.state import DesiredState, ReplicaStatus, rejection, version_of


def status(version: str = "1", *, state: str = "ready", reason: str = "") -> ReplicaStatus:
    return ReplicaStatus(state=state, serial=1, version=version, uri="uri", reason=reason)


def test_a_desired_state_survives_a_round_trip_through_user_config():
    desired = DesiredState(current="a", previous="b", version="c", serial=4, share=0.5)
    assert DesiredState.of(json.loads(json.dumps(desired.as_config()))) == desired


@pytest.mark.parametrize("wrong", [{"curent": "a"}, {"current": "a", "serial": "4"}, {"current": None}, {}])
def test_a_config_that_is_no_desired_state_is_refused(wrong):
    with pytest.raises(ValidationError):
        DesiredState.of(wrong)


@pytest.mark.parametrize(("state", "decided"), [("starting", 0), ("loading", 0), ("ready", 1), ("rejected", 1)])
def test_only_ready_and_rejected_are_decisions(state, decided):
    assert status(state=state).has_decided == bool(decided)


def test_version_of_joins_versions_that_differ():
    assert version_of([status("2"), status("2")]) == "2"
    assert version_of([status("2"), status("1"), status("2")]) == "1,2"


def test_rejection_is_the_reason_of_any_replica():
    assert rejection([status(), status()]) == ""
    assert rejection([status(), status(state="rejected", reason="damaged")]) == "damaged"
