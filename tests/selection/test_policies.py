"""Built-in selection policies, and policies by name; the contract is run in `tests/contracts/test_policies.py`."""

import pytest

from lft_ray.errors import ConfigError
from lft_ray.selection.front import points_of
from lft_ray.selection.policies import best_f1, cheapest_within, choose
from tests.selection.builders import study, trial


def test_cheapest_within_includes_a_point_exactly_at_the_margin():
    points = points_of([trial("a", "m:1", 0.915, 0.01), trial("b", "m:6", 0.920, 0.1)])
    assert cheapest_within(points, margin=0.005).trial_id == "a"
    assert cheapest_within(points, margin=0.0049).trial_id == "b"


def test_cheapest_within_breaks_ties_by_f1_then_by_trial_id():
    points = points_of([trial("t1", "m", 0.90, 0.1), trial("t3", "m", 0.91, 0.1), trial("t2", "m", 0.91, 0.1)])
    assert cheapest_within(points, margin=0.05).trial_id == "t2"


def test_best_f1_breaks_ties_by_cost_then_by_trial_id():
    points = points_of([trial("t1", "m", 0.91, 0.2), trial("t10", "m", 0.91, 0.1), trial("t9", "m", 0.91, 0.1)])
    assert best_f1(points).trial_id == "t9"


def altered(points, *, margin):
    return points[0].replace(f1=1.0)


def test_choose_takes_names_and_dotted_paths_and_refuses_altered_points():
    points = points_of(study())
    assert choose("best_f1", points, margin=0.0) == best_f1(points)
    assert choose("lft_ray.selection.policies:best_f1", points, margin=0.0) == best_f1(points)
    with pytest.raises(ConfigError, match=r"at selection\.policy returned FrontPoint.* not one of the 5 points given"):
        choose("tests.selection.test_policies:altered", points, margin=0.0)
