import subprocess
import sys
from itertools import count

from lft_ray.serve.patience import MOST_ROUNDS, Patience, cpu_s_below, wait_while_moving


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


def test_a_wait_that_nobody_needs_any_more_ends_at_once():
    asked = []
    assert not wait_while_moving(lambda: bool(asked.append(1)), timeout_s=60.0, give_up=lambda: True)
    assert len(asked) == 1


def test_a_round_that_is_not_over_is_no_reason_to_look():
    patience = Patience(60.0, lambda: 0.0)
    assert not patience.is_over()
    assert 0.0 <= patience.waited_s < 60.0


def test_processor_seconds_of_descendants_only_count_them(sleeper):
    assert 0.0 <= cpu_s_below() < 60.0
    assert cpu_s_below(sleeper.pid) == 0.0


def test_what_has_ended_still_counts_and_a_process_that_is_gone_has_none():
    work = "subprocess.run([sys.executable, '-c', 'sum(range(10**7))'])"
    code = f"import subprocess, sys; {work}; print(1, flush=True); input()"
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout.readline() == b"1\n"
    assert cpu_s_below() > 0.0
    parent.communicate(b"\n")
    assert cpu_s_below(parent.pid) == 0.0
