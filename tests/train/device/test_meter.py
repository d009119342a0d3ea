import sys
import threading
import time

import pytest

from lft_ray.records import Usage
from lft_ray.train.device.meter import Meter, add_usage


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        sum(range(1000))


def test_processor_seconds_count_all_threads_and_no_sleep():
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


def test_evaluation_is_not_training():
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
def test_peak_is_of_this_trial_not_of_the_process():
    ballast = bytearray(200_000_000)
    before = Meter().own().peak_bytes
    assert before > 200_000_000
    del ballast
    assert Meter().own().peak_bytes < before - 150_000_000
