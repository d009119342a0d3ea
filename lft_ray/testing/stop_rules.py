"""Contract of stop rules, `lft_ray.search.stopping.base.StopRule`.

In: your factory ``(seed) -> StopRule``. Out: passed or failed tests on synthetic curves. Never trains.
"""

from collections.abc import Callable

import pytest

from lft_ray.records import TrialRecord
from lft_ray.search.stopping.base import StopRule, TrialSnapshot
from lft_ray.testing import curves

__all__ = ["StopRuleContract", "StoppingContract"]

MakeRule = Callable[[int], StopRule]


class StopRuleContract:
    """Subclass it with a fixture ``make_rule``. Rules that stop trials must pass the stricter `StoppingContract`."""

    @pytest.fixture
    def make_rule(self) -> MakeRule:
        """Your factory, called as ``make_rule(seed)``."""
        pytest.fail("a subclass of StopRuleContract needs a fixture make_rule that returns your factory")

    @pytest.fixture
    def peers(self) -> list[TrialRecord]:
        """Records of ended trials."""
        return curves.peers()

    def test_the_same_snapshot_gives_the_same_decision(self, make_rule: MakeRule, peers: list[TrialRecord]) -> None:
        """Regardless of earlier calls: a resumed search repeats them, in another order."""
        first, second = make_rule(7), make_rule(7)
        snapshots = list(curves.standings(peers))
        reasons = [first(s) for s in snapshots]
        assert [second(s) for s in reversed(snapshots)] == reasons[::-1]
        assert [first(s) for s in snapshots] == reasons

    def test_the_decision_does_not_depend_on_the_order_of_records(
        self, make_rule: MakeRule, peers: list[TrialRecord]
    ) -> None:
        rule = make_rule(0)
        assert [rule(s) for s in curves.standings(peers)] == [rule(s) for s in curves.standings(peers[::-1])]

    def test_a_pareto_optimal_trial_is_not_stopped(self, make_rule: MakeRule, peers: list[TrialRecord]) -> None:
        """No other trial is as cheap and as good at this point of its curve."""
        rule = make_rule(0)
        best = {
            size: max(p.f1 for r in peers if curves.known_cost(r.config) <= usd for p in r.curve)
            for size, usd in curves.COSTS.items()
        }
        for size, f1 in best.items():
            for reached in (1, 2):
                assert rule(curves.standing([f1 + 1e-4] * reached, peers, size=size)) == ""

    def test_the_cheapest_size_is_not_stopped_for_being_worse_than_more_expensive_ones(
        self, make_rule: MakeRule, peers: list[TrialRecord]
    ) -> None:
        others = [r for r in peers if r.config.model_size != "tiny:1"]
        assert make_rule(0)(curves.standing([0.3, 0.35], others, size="tiny:1")) == ""

    def test_nothing_is_stopped_with_few_trials(self, make_rule: MakeRule) -> None:
        best = curves.ended(0, [0.97, 0.98, 0.99], "tiny:1")
        assert make_rule(0)(curves.standing([0.2, 0.2], [best])) == ""
        assert make_rule(0)(curves.standing([0.2, 0.2])) == ""

    def test_start_trials_and_the_ends_of_a_curve_are_never_stopped(
        self, make_rule: MakeRule, peers: list[TrialRecord]
    ) -> None:
        rule = make_rule(0)
        assert rule(curves.standing([0.1], peers, start=True)) == ""
        assert rule(curves.standing([0.1, 0.1, 0.1], peers)) == ""
        at_zero = curves.standing([0.1], peers)
        only = at_zero.curve[0].model_copy(update={"fraction": 0.0})
        assert rule(TrialSnapshot(at_zero.trial, [only], peers, {}, curves.known_cost)) == ""


class StoppingContract(StopRuleContract):
    """Extends `StopRuleContract` for rules that stop trials."""

    def test_some_trials_are_stopped_with_a_reason(self, make_rule: MakeRule, peers: list[TrialRecord]) -> None:
        rule = make_rule(0)
        reasons = [reason for s in curves.standings(peers) if (reason := rule(s))]
        assert 10 < len(reasons) < 190
        assert all("F1" in reason and "\n" not in reason for reason in reasons)

    def test_a_point_between_two_decision_points_stops_nothing(
        self, make_rule: MakeRule, peers: list[TrialRecord]
    ) -> None:
        rule = make_rule(0)
        snapshot = curves.standing([0.1], peers)
        assert rule(snapshot)
        later = [*snapshot.curve, snapshot.curve[0].model_copy(update={"fraction": 0.5})]
        assert rule(TrialSnapshot(snapshot.trial, later, peers, {}, curves.known_cost)) == ""
