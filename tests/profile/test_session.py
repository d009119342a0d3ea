"""Which model folders are built ahead; starting and loading the replica is covered by the cluster test of profiles."""

import pytest
import ray

from lft_ray.cluster import driver
from lft_ray.profile import session
from lft_ray.profile.requests import profile_requests
from lft_ray.system import signals
from tests.handed_down import candidates


def test_first_within_stops_at_the_size_limit(experiment, dataset):
    requests = profile_requests(candidates(experiment, dataset), dataset)
    size = 4 * requests[0].size.params + 4 * requests[1].size.params
    assert session._first_within(requests, size) == requests[:2]
    assert session._first_within(requests, size - 1) == requests[:1]
    assert session._first_within(requests, 0) == [r for r in requests[:1] if not r.size.params]


@pytest.mark.parametrize(("started", "waits"), [([], True), (["/tmp/lft-ray-own"], False)])
def test_an_interrupted_command_waits_for_no_build_in_a_cluster_that_it_ends_by_force(monkeypatch, started, waits):
    asked = []
    monkeypatch.setattr(session, "run_on", lambda *arguments: "task")
    monkeypatch.setattr(ray, "cancel", lambda task, **options: asked.append(task))
    monkeypatch.setattr(ray, "wait", lambda tasks, **options: asked.append(tasks))
    monkeypatch.setattr(driver, "_started", started)
    monkeypatch.setattr(signals._owner, "received", 2)
    with pytest.raises(signals.Interrupted), session.prebuild([], "node"):
        raise signals.Interrupted(2)
    assert bool(asked) == waits


def test_a_cluster_ends_by_force_only_where_this_command_started_it_and_was_interrupted(monkeypatch, tmp_path):
    assert not driver.is_ending_by_force()
    with driver.ended_by_force(tmp_path):
        assert not driver.is_ending_by_force()
        monkeypatch.setattr(signals._owner, "received", 15)
        assert driver.is_ending_by_force()
        monkeypatch.setattr(signals._owner, "received", None)
    monkeypatch.setattr(signals._owner, "received", 15)
    assert not driver.is_ending_by_force()
