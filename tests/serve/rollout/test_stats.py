import math
import pickle

import pytest

from lft_ray.serve.rollout.state import ReplicaStatus
from lft_ray.serve.rollout.stats import BIN_RATIO, CanaryStats, RequestStats, merged


def stats_of(requests: int, *, errors: int = 0) -> RequestStats:
    found = RequestStats()
    for number in range(requests - errors):
        found.add(float(number + 1), "ab"[number % 2])
    for _ in range(errors):
        found.fail()
    return found


def test_statistics_survive_pickling_and_add_up_over_replicas():
    one, two = stats_of(50, errors=2), stats_of(30, errors=1)
    sent = pickle.loads(pickle.dumps(ReplicaStatus("ready", 1, "v", "uri", stats=CanaryStats(one, two))))
    assert sent.stats == CanaryStats(one, two)
    total = merged([sent.stats.current, sent.stats.candidate])
    assert (total.requests, total.errors, total.buckets.total()) == (80, 3, 77)
    assert merged([]).requests == 0


def test_merged_returns_a_copy():
    part = stats_of(5)
    total = merged([part])
    part.add(1.0, "a")
    part.fail()
    assert (total.requests, total.errors, total.buckets.total(), sum(total.bins)) == (5, 0, 5, 5)


def test_the_p95_is_right_to_a_bin():
    found = RequestStats()
    for ms in range(1, 101):
        found.add(float(ms), "a")
    assert 95.0 / BIN_RATIO <= found.p95_ms <= 95.0 * BIN_RATIO
    assert RequestStats().p95_ms == 0.0


def test_latency_ms_is_the_upper_end_of_the_bin_of_a_rank():
    found = RequestStats()
    for latency_ms in (1.0, 10.0, 100.0):
        found.add(latency_ms, "a")
    for rank, latency_ms in enumerate((1.0, 10.0, 100.0), start=1):
        assert latency_ms <= found.latency_ms(rank) <= latency_ms * BIN_RATIO
    assert (found.latency_ms(0), found.latency_ms(4)) == (0.0, math.inf)


@pytest.mark.parametrize("latency_ms", [0.0, 1e-9, 0.1, 1e9])
def test_latencies_outside_the_bins_go_into_the_outermost(latency_ms):
    found = RequestStats()
    found.add(latency_ms, "a")
    assert sum(found.bins) == 1
    assert (found.bins[0], found.bins[-1]) in ((1, 0), (0, 1))
