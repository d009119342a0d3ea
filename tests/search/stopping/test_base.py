import numpy as np
import pytest

from lft_ray.records import TrialStatus
from lft_ray.search.stopping.base import FullCurve, extended_curve, f1_at, is_decision_point, runs_to_the_end
from tests.search.curves import ended, points


def test_the_error_ratio_is_interpolated_between_points():
    fifths = (0.2, 0.4, 0.6, 0.8, 1.0)
    scores = [0.2, 0.4, 0.6, 0.8, 0.9]
    curve = FullCurve("full", 2, tuple(zip(fifths, scores, strict=True)))
    assert curve.error_ratio(0.2) == pytest.approx(0.1 / 0.8)
    assert curve.error_ratio(1 / 3) == pytest.approx(0.1 / (1 - 1 / 3))
    assert curve.error_ratio(0.9) == pytest.approx(0.1 / 0.15)
    assert curve.error_ratio(0.1) is None
    # A fall later on does not count against what was reached until then.
    assert FullCurve("full", 2, ((0.5, 0.8), (1.0, 0.6))).error_ratio(0.75) == pytest.approx(0.4 / 0.2)


def test_the_error_ratio_of_a_perfect_curve_does_not_divide_by_zero():
    assert FullCurve("full", 1, ((0.5, 1.0), (1.0, 1.0))).error_ratio(0.5) == 0.0
    assert FullCurve("full", 1, ((0.5, 1.0), (1.0, 0.9))).error_ratio(0.5) == float("inf")


def test_the_last_score_of_an_early_stopped_trial_is_extended():
    whole = ended(0, [0.7, 0.8, 0.9])
    early = whole.model_copy(update={"curve": whole.curve[:-1]})
    assert [f1 for _, f1 in FullCurve.of(early).points] == [0.7, 0.8, 0.8]
    assert f1_at(extended_curve(early, 0.9), 0.9) == 0.8
    assert extended_curve(whole, 0.9) == whole.curve
    stopped = early.model_copy(update={"status": TrialStatus.STOPPED})
    assert FullCurve.of(stopped) is None
    assert extended_curve(stopped, 0.9) == stopped.curve


@pytest.mark.parametrize(
    ("fractions", "expected"),
    [
        ([0.0], False),  # the linear probe
        ([0.0, 0.2], False),
        ([0.0, 0.32], True),  # within the tolerance of a third
        ([0.0, 0.2, 0.5], True),  # the first evaluation after a third
        ([0.0, 0.4, 0.5], False),
        ([0.0, 0.4, 0.7], True),
        ([0.0, 1.0], False),
    ],
)
def test_a_decision_point_is_the_first_evaluation_at_or_after_a_fraction(fractions, expected):
    curve = points([0.5] * len(fractions), fractions)
    assert is_decision_point(curve, (1 / 3, 2 / 3)) is expected


def test_f1_at_takes_the_last_evaluation_within_the_tolerance():
    curve = points([0.5, 0.6, 0.7], [0.32, 0.34, 0.5])
    assert (f1_at(curve, 1 / 3), f1_at(curve, 0.4)) == (0.6, None)


def test_probes_depend_on_seed_and_number_alone_and_have_the_stated_share():
    def probes(seed: int) -> list[bool]:
        return [runs_to_the_end(seed, f"t{i:03d}", 0.1) for i in range(400)]

    assert probes(0) == probes(0) != probes(1)
    assert np.mean(probes(0)) == pytest.approx(0.1, abs=0.04)
