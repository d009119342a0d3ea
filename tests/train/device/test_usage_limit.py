import pytest

from lft_ray.records import Usage
from lft_ray.run.ledger import Allowance
from lft_ray.train.device.meter import Meter, UsageLimit


class Readings:
    """A meter that is read at given core seconds."""

    def __init__(self, *core_s, device_s=0.0):
        self._core_s, self._device_s = iter(core_s), device_s

    def busy_s(self, *, processes=1, before=(0.0, 0.0)):
        return before[0] + processes * next(self._core_s), before[1] + self._device_s


def looks(usage_limit, count):
    return [usage_limit.is_over() for _ in range(count)]


def test_without_an_allowance_a_trial_never_stops():
    assert looks(UsageLimit(Readings(), None), 3) == [False] * 3


def test_it_stops_one_widest_gap_early_and_the_start_is_no_gap():
    usage_limit = UsageLimit(Readings(8, 9, 12, 13, 14, 16), Allowance(core_s=17.5))
    assert looks(usage_limit, 6) == [False, False, False, False, False, True]
    assert usage_limit.was_over


def test_what_dead_workers_used_counts():
    assert looks(UsageLimit(Readings(1, 2), Allowance(core_s=10, used_core_s=8)), 2) == [False, True]


def test_other_processes_count_alike_and_devices_too():
    assert looks(UsageLimit(Readings(3), Allowance(core_s=10), processes=4), 1) == [True]
    assert looks(UsageLimit(Readings(0, device_s=3.0), Allowance(device_s=2.0)), 1) == [True]


def test_the_meter_takes_the_larger_of_what_was_saved_and_what_was_used():
    meter = Meter()
    meter.carried = Usage(core_s=5.0)
    assert meter.busy_s(before=(3.0, 0.0))[0] == pytest.approx(5.0, abs=1.0)
    assert meter.busy_s(before=(30.0, 0.0))[0] == pytest.approx(30.0, abs=1.0)
