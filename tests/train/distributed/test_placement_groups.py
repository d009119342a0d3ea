"""The parts without Ray; that a study releases its placement groups is tested in test_sharded.py."""

from lft_ray.train.distributed import placement_groups
from lft_ray.train.distributed.placement_groups import wait_until


def test_wait_until_returns_at_once_or_at_the_limit(monkeypatch):
    monkeypatch.setattr(placement_groups, "POLL_S", 0.001)
    results = iter([False, False, True])
    wait_until(lambda: next(results), 60.0)
    assert next(results, None) is None
    calls = []
    wait_until(lambda: bool(calls.append(1)), 0.01)
    assert len(calls) > 1
