"""What the dominance rule promises beyond its contract: a bounded error rate."""

import numpy as np
import pytest

from lft_ray.errors import ConfigError
from lft_ray.search.stopping.base import FullCurve
from lft_ray.search.stopping.dominance import dominance
from tests.search.curves import THIRDS, draws, ended, library, standing

INCUMBENT = 0.89


def wrong_and_right(recorded, *, alpha=0.1, trials=1500, size=39) -> tuple[float, float]:
    """Of trials that would end above (below) a incumbent of equal cost, the share that is stopped; a library for each.

    Args:
        recorded: which of the curves that are drawn are in the libraries.
    """
    rng = np.random.default_rng(0)
    incumbent = ended(0, [INCUMBENT] * 3)
    pool = [full(curve) for curve in draws(rng, 3 * size * trials) if recorded(curve)]
    assert len(pool) >= size * trials / 3
    count = {True: [0, 0], False: [0, 0]}
    for curve in draws(rng, trials):
        library = [pool[i] for i in rng.integers(0, len(pool), size)]
        rule = dominance(0, alpha=alpha, seed_sd=0.0, probe_share=0.0, library=library)
        stopped = any(rule(standing(curve[:reached], [incumbent])) for reached in (1, 2))
        tally = count[curve[-1] > INCUMBENT]
        tally[0] += stopped
        tally[1] += 1
    return count[True][0] / count[True][1], count[False][0] / count[False][1]


def full(curve):
    return FullCurve("full", 2, tuple(zip(THIRDS, curve, strict=True)))


@pytest.mark.parametrize("alpha", [0.1, 0.2])
def test_trials_that_would_have_been_better_are_stopped_at_most_as_often_as_stated(alpha):
    """2% and 4% of the better trials are: the bound adds up the decision points, and holds for the worst incumbent."""
    wrong, right = wrong_and_right(lambda curve: True, alpha=alpha)
    assert wrong <= alpha
    # The rule is useful: about half of the trials that end below are stopped.
    assert right > 0.4


def test_a_library_of_curves_that_do_not_improve_late_breaks_the_promise():
    """The promise is one about exchangeable curves, and the test above can see it broken: 35% are stopped wrongly."""
    wrong, _ = wrong_and_right(lambda curve: curve[2] - curve[0] < 0.02, trials=300)
    assert wrong > 0.2


def test_nineteen_curves_are_needed_for_alpha_of_a_tenth_and_two_decision_points():
    poor = standing([0.3, 0.3], [ended(0, [0.9, 0.95, 0.97], method="other")])
    assert not dominance(0, library=library(18))(poor)
    assert "dominated: at most" in dominance(0, library=library(19))(poor)
    assert not dominance(0, alpha=0.05, library=library(38))(poor)
    assert dominance(0, alpha=0.05, library=library(39))(poor)


def test_the_reason_names_the_bound_its_level_and_the_incumbent():
    incumbent = ended(3, [0.8, 0.9, 0.902], "tiny:1")
    curves = [FullCurve("full", 2, ((1 / 3, 0.5), (2 / 3, 0.8), (1.0, 0.9)))] * 19
    reason = dominance(0, library=curves)(standing([0.1, 0.355], [incumbent]))
    # Half of the error at two thirds is left at the end in every recorded curve: 1 - 0.645 / 2.
    assert reason.startswith("dominated: at most 0.677 F1 expected (95%), 0.902 is reached")
    assert reason.endswith("at the same or lower serving cost by t003")


def test_a_incumbent_counts_less_one_seed_sd_and_must_cost_no_more():
    curves = [FullCurve("full", 2, ((1 / 3, 0.5), (2 / 3, 0.9), (1.0, 0.9)))] * 19

    def stopped(f1: float, size: str = "tiny:1", rival_size: str = "tiny:1", **options) -> bool:
        incumbent = ended(0, [0.5, 0.5, f1], rival_size)
        return bool(dominance(0, library=curves, **options)(standing([0.5, 0.8], [incumbent], size=size)))

    assert stopped(0.807)
    assert not stopped(0.805)
    assert stopped(0.805, seed_sd=0.0)
    assert stopped(0.805, delta=0.002)
    assert stopped(0.99, "tiny:6", "tiny:1")
    assert not stopped(0.99, "tiny:1", "tiny:2")


def test_a_incumbent_of_which_only_a_more_expensive_variant_is_as_good_does_not_count():
    curves = [FullCurve("full", 2, ((1 / 3, 0.5), (2 / 3, 0.9), (1.0, 0.9)))] * 19
    incumbent = ended(0, [0.5, 0.5, 0.99], "tiny:1")
    expensive = incumbent.variants[0].model_copy(update={"usd_per_million_predictions": 9.0})
    poor = incumbent.variants[0].model_copy(update={"f1": 0.4})
    # Below the cheapest admitted variant: it breaks a cap.
    barred = incumbent.variants[0].model_copy(update={"usd_per_million_predictions": 0.1})
    for variants in ([expensive, poor], [expensive, barred]):
        snapshot = standing([0.5, 0.8], [incumbent.model_copy(update={"variants": variants})])
        assert not dominance(0, library=curves)(snapshot)
    assert dominance(0, library=curves)(standing([0.5, 0.8], [incumbent]))


def test_survivors_are_no_calibration():
    """What ran after a method's first 19 might have been stopped, so its curve counts only if it is a probe."""
    early = [ended(i, [0.5, 0.6, 0.9]) for i in range(20)]
    # Those that came later do not improve any more: counted in, they would have the trial stopped.
    late = [ended(i, [0.85, 0.86, 0.86]) for i in range(20, 480)]

    def stops(others, **options) -> list[bool]:
        rule = dominance(0, **options)
        return [bool(rule(standing([0.5, 0.7], others, number=n))) for n in range(500, 520)]

    assert not any(stops([*early, *late], probe_share=0.0))
    # The same curves of start trials, which are never stopped.
    assert all(stops([*early, *(r.model_copy(update={"start": True}) for r in late)], probe_share=0.0))
    # Half of them are probes; so are half of the judged trials.
    assert 3 < sum(stops([*early, *late], probe_share=0.5, alpha=0.9)) < 17


def test_the_first_trials_of_a_method_are_never_stopped_however_late_they_are():
    others = [ended(i, [0.5, 0.6, 0.9]) for i in range(5, 60)]
    rule = dominance(0, probe_share=0.0)
    assert rule(standing([0.1, 0.1], others, number=4)) == ""
    assert rule(standing([0.1, 0.1], others, number=30))
    assert rule(standing([0.1, 0.1], others, number=30, method="lora")) == ""


def test_curves_of_equal_epochs_are_preferred_where_there_are_enough():
    incumbent = ended(0, [0.5, 0.5, 0.9], "tiny:1")
    steep, flat = ((1 / 3, 0.2), (2 / 3, 0.5), (1.0, 0.95)), ((1 / 3, 0.5), (2 / 3, 0.7), (1.0, 0.7))
    snapshot = standing([0.5, 0.7], [incumbent])
    fast = [FullCurve("full", 2, flat)] * 19
    assert dominance(0, library=fast)(snapshot)
    assert dominance(0, library=[*fast, *[FullCurve("full", 1, steep)] * 5])(snapshot)
    assert not dominance(0, library=[*fast[1:], *[FullCurve("full", 1, steep)] * 5])(snapshot)


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (dominance, {"alpha": 0.0}),
        (dominance, {"decision_points": (1.0,)}),
        (dominance, {"decision_points": ()}),
    ],
)
def test_options_out_of_range_are_refused(make, options):
    with pytest.raises(ConfigError, match="expected"):
        make(0, **options)
