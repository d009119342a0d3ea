from itertools import count

from lft_ray.profile.patience import MOST_ROUNDS, descendants_cpu_s, wait_while_moving


def test_a_wait_goes_on_while_processor_time_passes_and_ends_without():
    calls = count()
    # Not there within the first round of no time at all, but something works on it.
    assert wait_while_moving(lambda: next(calls) >= 3, timeout_s=0.0, cpu_s=lambda: float(next(calls)))
    asked = []
    assert not wait_while_moving(lambda: bool(asked.append(1)), timeout_s=0.01, cpu_s=lambda: 7.0)
    assert len(asked) < MOST_ROUNDS


def test_even_a_busy_cluster_is_given_up_at_last():
    seconds = count()
    asked = []
    assert not wait_while_moving(lambda: bool(asked.append(1)), timeout_s=0.0, cpu_s=lambda: float(next(seconds)))
    assert len(asked) == MOST_ROUNDS


def test_processor_seconds_of_descendants_only_count_them(sleeper):
    assert 0.0 <= descendants_cpu_s() < 60.0
