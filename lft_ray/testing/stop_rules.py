"""What every rule of early stopping does: the contract of `lft_ray.search.stopping.base.StopRule`.

In: your factory ``(seed) -> StopRule``. Out: passed or failed checks, on made-up curves. Never trains.
"""

from collections.abc import Callable

import pytest

from lft_ray.records import TrialRecord
from lft_ray.search.stopping.base import StopRule, TrialSnapshot
from lft_ray.testing import curves

__all__ = ["StopRuleContract", "StoppingContract"]

MakeRule = Callable[[int], StopRule]


class StopRuleContract:
    """Subclass it with a fixture ``make_rule``. A rule that stops trials passes `StoppingContract`, which asks more."""

    @pytest.fixture
    def make_rule(self) -> MakeRule:
        """Your factory, called as ``make_rule(seed)``."""
        raise NotImplementedError("a subclass of StopRuleContract needs a fixture make_rule that returns your factory")

    @pytest.fixture
    def peers(self) -> list[TrialRecord]:
        """Trials that have ended."""
        return curves.peers()

    def test_the_same_question_has_the_same_answer(self, make_rule: MakeRule, peers: list[TrialRecord]) -> None:
        """Whatever was asked before: a resumed search asks again, in another order."""
        first, second = make_rule(7), make_rule(7)
        asked = list(curves.standings(peers))
        reasons = [first(s) for s in asked]
        assert [second(s) for s in reversed(asked)] == reasons[::-1]
        assert [first(s) for s in asked] == reasons

    def test_the_order_of_what_has_ended_is_of_no_matter(self, make_rule: MakeRule, peers: list[TrialRecord]) -> None:
        rule = make_rule(0)
        assert [rule(s) for s in curves.standings(peers)] == [rule(s) for s in curves.standings(peers[::-1])]

    def test_a_pareto_optimal_trial_goes_on(self, make_rule: MakeRule, peers: list[TrialRecord]) -> None:
        """Nothing finished or running is as cheap and as good already at this point of its curve."""
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

    def test_few_trials_stop_nothing(self, make_rule: MakeRule) -> None:
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
    """`StopRuleContract`, for a rule that does stop trials."""

    def test_some_trials_are_stopped_and_the_reason_says_why(
        self, make_rule: MakeRule, peers: list[TrialRecord]
    ) -> None:
        rule = make_rule(0)
        reasons = [reason for s in curves.standings(peers) if (reason := rule(s))]
        assert 10 < len(reasons) < 190
        assert all("F1" in reason and "\n" not in reason for reason in reasons)

    def test_a_point_between_two_looks_is_no_second_chance_to_stop(
        self, make_rule: MakeRule, peers: list[TrialRecord]
    ) -> None:
        rule = make_rule(0)
        asked = curves.standing([0.1], peers)
        assert rule(asked)
        later = [*asked.curve, asked.curve[0].model_copy(update={"fraction": 0.5})]
        assert rule(TrialSnapshot(asked.trial, later, peers, {}, curves.known_cost)) == ""
