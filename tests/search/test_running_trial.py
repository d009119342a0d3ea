import time

import pytest

from lft_ray.records import CurvePoint, TrialConfig, TrialStatus, Usage
from lft_ray.run.ledger import Allowance, StartedTrial
from lft_ray.search.running_trial import NOTE_INTERVAL_S, RunningTrial, unfinished_result


def running(*, cores: float = 2.0, devices: float = 0.0, begun_s_ago: float = 10.0, **trial) -> RunningTrial:
    started = StartedTrial(trial_id="t000", number=0, config=TrialConfig(model_size="tiny:1"), **trial)
    now = time.time()
    return RunningTrial(started, now - begun_s_ago - 5.0, now - begun_s_ago, cores, devices)


def point(fraction: float, f1: float = 0.5) -> CurvePoint:
    return CurvePoint(fraction=fraction, f1=f1, loss=1.0, train_s=1.0)


def test_a_repeated_point_replaces_itself_and_all_later_ones():
    trial = running()
    for fraction in (0.0, 0.3, 0.6, 0.3):
        trial.note(point(fraction))
    assert [p.fraction for p in trial.curve] == [0.0, 0.3]


def test_a_worker_that_recorded_nothing_is_charged_with_all_that_it_held():
    trial = running(cores=2.0, devices=0.5)
    usage = trial.charged(None)
    assert (usage.wall_s, usage.core_s, usage.device_s) == pytest.approx((10.0, 20.0, 5.0), abs=0.5)
    trial.placed_at = time.time() - 6.0
    assert trial.charged(None).core_s == pytest.approx(12.0, abs=0.5)
    trial.training_at = time.time() - 4.0
    assert trial.charged(None).core_s == pytest.approx(8.0, abs=0.5)


def test_a_worker_that_recorded_its_usage_is_charged_with_that_and_one_interval():
    """On a busy machine it held its core for an hour and got a tenth of it."""
    usage = running(cores=1.0, devices=1.0, begun_s_ago=3600.0).charged(Usage(core_s=300.0, wall_s=3000.0))
    assert usage.core_s == pytest.approx(300.0 + NOTE_INTERVAL_S)
    # A device is held, and paid for, whether anything runs on it or not.
    assert usage.device_s == pytest.approx(600.0, abs=0.5)


def test_what_dead_workers_did_not_record_is_added_to_the_result_once():
    trial = running(cores=2.0)
    trial.lose(Usage(core_s=14.0, wall_s=7.0))
    assert trial.lost.core_s == pytest.approx(3.0 * 2.0, abs=0.5)
    trial.begun_at = time.time()
    # The next worker carries what was recorded; the driver adds the rest.
    usage = trial.with_lost(Usage(core_s=20.0, wall_s=10.0))
    assert (usage.wall_s, usage.core_s) == pytest.approx((13.0, 26.0), abs=0.5)
    trial.lose(Usage(core_s=20.0, wall_s=10.0))
    assert trial.lost.core_s == pytest.approx(6.0, abs=0.5)


def test_the_allowance_left_subtracts_what_earlier_attempts_may_have_used():
    assert running().allowance_left() is None
    trial = running(allowance=Allowance(core_s=100.0))
    trial.lose(Usage(core_s=14.0, wall_s=7.0))
    left = trial.allowance_left()
    assert (left.core_s, left.used_core_s) == pytest.approx((100.0, 20.0), abs=0.5)


def test_overhead_is_the_wait_before_training_and_after_the_worker_finished():
    trial = running()
    assert trial.overhead_s(0.0) == pytest.approx(5.0, abs=0.5)
    trial.training_at = time.time() - 4.0
    assert trial.overhead_s(time.time() - 1.0) == pytest.approx(11.0 + 1.0, abs=0.5)


def test_an_unfinished_result_has_the_curve_and_the_reason_but_no_variant():
    trial = running(attempt=2).trial
    result = unfinished_result(trial, TrialStatus.STOPPED, "deadline", [point(0.3)], Usage(core_s=1.0))
    assert (result.status, result.reason, result.attempt) == (TrialStatus.STOPPED, "deadline", 2)
    assert (result.variants, [p.fraction for p in result.curve]) == ([], [0.3])
