"""What asynchronous successive halving promises beyond its contract: cheap models survive."""

import pytest

from lft_ray.errors import ConfigError
from lft_ray.search.stopping.asha import _ranks, mo_asha
from tests.search.curves import ended, points, standing


def reached(scores, size, first=0):
    return [ended(first + i, [f1, f1 + 0.01, f1 + 0.02], size) for i, f1 in enumerate(scores)]


def test_one_in_eta_continues_within_an_octave():
    peers = reached([0.5, 0.6, 0.7, 0.8, 0.9], "tiny:4")
    rule = mo_asha(0)
    # Six seen, two go on: the best and the next.
    assert [bool(rule(standing([f1], peers, size="tiny:4"))) for f1 in (0.95, 0.85, 0.75, 0.55)] == [0, 0, 1, 1]
    reason = rule(standing([0.55], peers, size="tiny:4"))
    assert reason == "behind at 33% of its schedule: 0.550 F1 is rank 5 of 6 at its serving cost, 2 continue"


def test_the_cheaper_of_an_octave_is_on_its_front_though_its_f1_is_lower():
    """tiny:1 and tiny:2 cost 2 and 3 dollars: one octave. tiny:4 costs 5, another one."""
    more_expensive = reached([0.8, 0.82, 0.84, 0.86, 0.88], "tiny:2")
    assert mo_asha(0)(standing([0.5], more_expensive, size="tiny:1")) == ""
    assert mo_asha(0)(standing([0.5], more_expensive, size="tiny:2"))
    assert mo_asha(0)(standing([0.5], more_expensive, size="tiny:4")) == ""
    # The other way round: more expensive and worse than the others of its octave.
    assert mo_asha(0)(standing([0.5], reached([0.6, 0.7, 0.8, 0.9, 0.9], "tiny:1"), size="tiny:2"))


def test_running_and_stopped_trials_count_where_they_were_seen():
    stopped = [ended(i, [0.6 + i / 100]) for i in range(3)]
    running = standing([0.5]).trial
    live = {f"t{i:03d}": (running, points([0.7])) for i in range(10, 13)}
    assert mo_asha(0)(standing([0.5], stopped, live=live))
    not_yet = {f"t{i:03d}": (running, []) for i in range(10, 13)}
    assert mo_asha(0)(standing([0.5], [], live=not_yet)) == ""


def test_rungs_that_meet_at_one_evaluation_are_one_decision():
    peers = reached([0.5, 0.6, 0.7, 0.8, 0.9], "tiny:6")
    assert mo_asha(0, rungs=(1 / 9, 1 / 3))(standing([0.1], peers))
    assert mo_asha(0, rungs=(1 / 9, 1 / 3))(standing([0.1, 0.1], peers)) == ""
    assert mo_asha(0, rungs=(1 / 9, 2 / 3))(standing([0.1, 0.1], peers))


@pytest.mark.parametrize("options", [{"eta": 1.0}, {"rungs": (0.0,)}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ConfigError, match="expected"):
        mo_asha(0, **options)


def test_ranks_peel_one_front_after_another_and_equal_points_share_one():
    points = [(1.0, 0.5), (2.0, 0.7), (2.0, 0.7), (2.0, 0.6), (3.0, 0.6), (4.0, 0.9)]
    assert _ranks(points) == [0, 0, 0, 1, 2, 0]
