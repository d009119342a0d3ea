import sys
import threading
import time

import pytest

from lft_ray.records import Usage
from lft_ray.run.ledger import Allowance
from lft_ray.train.device.meter import Meter, UsageLimit, add_usage


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        sum(range(1000))


def test_cpu_seconds_count_all_threads_and_no_sleep():
    meter = Meter()
    time.sleep(0.1)
    assert meter.own().core_s < 0.08
    thread = threading.Thread(target=burn, args=(0.1,))
    thread.start()
    thread.join()
    own = meter.own()
    assert own.core_s >= 0.09
    assert own.wall_s >= 0.1
    assert own.device_s == 0
    assert own.peak_bytes > 10_000_000


def test_evaluation_does_not_count_as_training():
    began = time.monotonic()
    meter = Meter()
    with meter.training():
        time.sleep(0.02)
        with meter.evaluating():
            time.sleep(0.05)
    own = meter.own()
    assert own.train_s >= 0.02
    assert own.eval_s >= 0.05
    # Counted once, not twice: the sum stays below the clock, however long a busy machine made the sleeps.
    assert own.train_s + own.eval_s <= time.monotonic() - began
    assert meter.wall_without_eval_s < own.wall_s


def test_tokens_and_sums():
    meter = Meter()
    meter.count(10, 12)
    meter.count(1, 2)
    own = meter.own()
    assert (own.tokens, own.padded_tokens) == (11, 14)
    total = add_usage(Usage(core_s=1, tokens=5, peak_bytes=7), Usage(core_s=2, tokens=6, peak_bytes=3))
    assert (total.core_s, total.tokens, total.peak_bytes) == (3, 11, 7)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can reset the peak")
def test_peak_memory_is_that_of_the_trial_not_of_the_process():
    ballast = bytearray(200_000_000)
    before = Meter().own().peak_bytes
    assert before > 200_000_000
    del ballast
    assert Meter().own().peak_bytes < before - 150_000_000


class Readings:
    """A meter with given core seconds at each reading."""

    def __init__(self, *core_s, device_s=0.0):
        self._core_s, self._device_s = iter(core_s), device_s

    def busy_s(self, *, processes=1, before=(0.0, 0.0)):
        return before[0] + processes * next(self._core_s), before[1] + self._device_s


def verdicts(usage_limit, count):
    return [usage_limit.is_over() for _ in range(count)]


def test_usage_limit_without_an_allowance_never_stops():
    assert verdicts(UsageLimit(Readings(), None), 3) == [False] * 3


def test_usage_limit_stops_one_largest_gap_early_without_counting_the_start():
    usage_limit = UsageLimit(Readings(8, 9, 12, 13, 14, 16), Allowance(core_s=17.5))
    assert verdicts(usage_limit, 6) == [False, False, False, False, False, True]
    assert usage_limit.was_over


def test_usage_limit_counts_the_usage_of_earlier_attempts():
    assert verdicts(UsageLimit(Readings(1, 2), Allowance(core_s=10, used_core_s=8)), 2) == [False, True]


def test_usage_limit_counts_all_processes_and_devices():
    assert verdicts(UsageLimit(Readings(3), Allowance(core_s=10), processes=4), 1) == [True]
    assert verdicts(UsageLimit(Readings(0, device_s=3.0), Allowance(device_s=2.0)), 1) == [True]


def test_busy_seconds_take_the_larger_of_recorded_and_reserved_usage():
    meter = Meter()
    meter.carried = Usage(core_s=5.0)
    assert meter.busy_s(before=(3.0, 0.0))[0] == pytest.approx(5.0, abs=1.0)
    assert meter.busy_s(before=(30.0, 0.0))[0] == pytest.approx(30.0, abs=1.0)
